"""Alerts on keys with unusual use, and on keys that need maintenance."""

from __future__ import annotations

from collections.abc import Iterator

from keygauge import service_metrics as service
from keygauge.metrics import DECISIONS, KEY, OUTCOME, REQUESTS, label
from keygauge_dashboards.alerts.alert import COUNT, NAMED_KEY, Alert, Record, between, subject
from keygauge_dashboards.promql.queries import (
    EVERYTHING,
    JOB,
    by_,
    gained,
    increase,
    is_,
    like,
    named,
    select,
    total,
    unlike,
)
from keygauge_dashboards.thresholds import Thresholds
from keygauge_dashboards.uids import KEY_PAGE, LIMITS_PAGE

DAY_S = 86_400
NO_KEY = "anonymous|invalid|other"  # placeholders for calls without a key of their own

_BY_KEY = (JOB, KEY)
_REAL = unlike(KEY, NO_KEY)


USE = f"{JOB}_{label(KEY)}:{REQUESTS.prometheus_name.removesuffix('_total')}:increase1h"
NORM = f"{JOB}_{label(KEY)}:{REQUESTS.prometheus_name.removesuffix('_total')}:increase1h_avg7d"


def records() -> list[Record]:
    """Return the recording rules: each key's hourly requests and their average, too expensive to query each time."""
    return [Record(USE, _in_an_hour(), is_slow=True), Record(NORM, f"avg_over_time({USE}[7d])", is_slow=True)]


def alerts(thresholds: Thresholds) -> Iterator[Alert]:
    """Return the alerts."""
    yield _usage_spike(thresholds)
    yield _new_key_hot(thresholds)
    yield _revoked_key_used()
    yield _auth_failure_burst(thresholds)
    yield from _key_expiring(thresholds)
    yield _key_unused(thresholds)


def _usage_spike(thresholds: Thresholds) -> Alert:
    often = f"{_in_an_hour()} > {thresholds.spike_requests}"
    spike = f"{_in_an_hour()} / ({NORM} > 0) > {thresholds.spike_factor:g} and {often} and {_a_day_ago()}"
    for ago in ("23h", "167h"):  # a batch at about this hour of every day, or of this day of every week
        spike += f" unless max_over_time({USE}[2h] offset {ago}) / {NORM} > {thresholds.spike_factor:g}"
    return Alert(
        name="UsageSpike",
        severity="ticket",
        expression=named(f"({spike})", JOB),
        hold="10m",
        summary=f"Key {NAMED_KEY} is used far more than usual",
        description='{{ $value | printf "%.1f" }} times its 7-day average in the last hour: '
        "a launch, a loop or a stolen key.",
        impact="One client may use up the key's quota and budget and the upstream's rate limits.",
        page=subject(KEY_PAGE, key=label(KEY)),
    )


def _new_key_hot(thresholds: Thresholds) -> Alert:
    used = f"last_over_time({USE}[6d] offset 1d)"  # even if its last process has ended since
    known = f"group({USE} offset 1d)"  # for a new Prometheus, all keys would be new
    hot = f"{_in_an_hour()} > {thresholds.new_key_requests} unless {used} and on () {known}"
    return Alert(
        name="NewKeyHot",
        severity="ticket",
        expression=named(f"({hot})", JOB),
        hold="5m",
        summary=f"New key {NAMED_KEY} is used heavily",
        description=f"{COUNT} requests in the last hour with a key that was not in use in the week before today.",
        impact="A bug or a thief may use up the account's budget before the owner notices.",
        page=subject(KEY_PAGE, key=label(KEY)),
    )


def _revoked_key_used() -> Alert:
    refused = gained(DECISIONS, is_(OUTCOME, "revoked"), by=_BY_KEY, window="15m", scope=EVERYTHING)
    return Alert(
        name="RevokedKeyUsed",
        severity="ticket",
        expression=named(f"({refused} > 0)", JOB),
        hold="0m",
        summary=f"Key {NAMED_KEY} is disabled or deleted but still in use",
        description=f"{COUNT} calls refused in 15 minutes: a client was overlooked, or the key leaked.",
        impact="All of these calls are refused; an overlooked client is down for its users.",
        page=subject(KEY_PAGE, key=label(KEY)),
    )


def _auth_failure_burst(thresholds: Thresholds) -> Alert:
    outcomes = like(OUTCOME, "unknown|expired|revoked|forbidden")
    refused = gained(DECISIONS, outcomes, by=(JOB,), window="5m", scope=EVERYTHING)
    return Alert(
        name="AuthFailureBurst",
        severity="ticket",
        expression=f"{refused} > {thresholds.auth_failures}",
        hold="2m",
        summary="{{ $labels.job }} refuses many credentials",
        description=f"{COUNT} calls in 5 minutes had no valid key: someone is guessing, or a deploy lost its key.",
        impact="Refused calls cost little, but a customer's client may be down, or someone is guessing keys.",
        page=subject(LIMITS_PAGE, job=JOB),
    )


def _key_expiring(thresholds: Thresholds) -> Iterator[Alert]:
    expiry = _of_key(f"({select(service.KEY_EXPIRY, scope=EVERYTHING)} - time()) / {DAY_S} > 0")
    levels = [
        -float(days) for days in thresholds.expiry_days
    ]  # days left, negated, so that they rise as the day approaches
    info = select(service.KEY_INFO, scope=EVERYTHING)
    older = f"on ({service.ID}) group{by_(service.ID)} ({info} offset 1d)"  # keys made for a day need no rotation
    for level, condition in between(f"-({expiry})", levels):
        days = f"{-level:g}"
        yield Alert(
            name="KeyExpiring",
            severity="ticket",
            expression=f"-({condition}) and {older}",
            hold="5m",
            summary=f"Key {{{{ $labels.name }}}} ({{{{ $labels.id }}}}) expires within {days} days",
            description='{{ $value | printf "%.1f" }} days left: rotate it with a grace period.',
            impact="After that, all calls with this key are refused.",
            page=subject(KEY_PAGE, key=service.ID),
            labels={"days": days},
        )


def _key_unused(thresholds: Thresholds) -> Alert:
    unused = f"(time() - {select(service.KEY_LAST_USED, scope=EVERYTHING)}) / {DAY_S} > {thresholds.unused_days}"
    return Alert(
        name="KeyUnused",
        severity="info",
        expression=_of_key(unused),
        hold="1h",
        summary="Key {{ $labels.name }} ({{ $labels.id }}) is unused",
        description='Last used {{ $value | printf "%.0f" }} days ago: a key nobody needs is an unnecessary risk.',
        impact="None today, but an unwatched key can leak unnoticed.",
        page=subject(KEY_PAGE, key=service.ID),
    )


def _of_key(expression: str) -> str:
    """Add the name of an active key to the key service's series, which have its id."""
    info = select(service.KEY_INFO, is_(service.STATE, "active"), scope=EVERYTHING)
    kept = by_(service.ID, service.ACCOUNT)
    return (
        f"max{kept} ({expression}) * on ({service.ID}) group_left ({service.NAME}) "
        f"max{by_(service.ID, service.NAME)} ({info})"
    )


def _in_an_hour() -> str:
    return increase(REQUESTS, _REAL, by=_BY_KEY, window="1h", scope=EVERYTHING)


def _a_day_ago() -> str:
    return total(REQUESTS, f"{select(REQUESTS, _REAL, scope=EVERYTHING)} offset 1d", _BY_KEY)
