"""Alerts on limits, quotas and cost budgets."""

from __future__ import annotations

from collections.abc import Iterator

from keygauge import service_metrics as service
from keygauge.metrics import COST_MISSING, KEY, MODEL, REQUESTS, STATUS, label
from keygauge_dashboards.alerts.alert import COUNT, NAMED_KEY, SHARE, Alert, Severity, between, of_limit, subject
from keygauge_dashboards.alerts.keys import NO_KEY
from keygauge_dashboards.promql.queries import (
    EVERYTHING,
    JOB,
    Match,
    by_,
    increase,
    is_,
    limit_share,
    named,
    occurred,
    owned,
    select,
    unlike,
)
from keygauge_dashboards.thresholds import Thresholds
from keygauge_dashboards.uids import KEY_PAGE, LIMITS_PAGE, MODELS_PAGE

_SUBJECT = (
    "{{ $labels.limit }} of {{ $labels.account_name }} ({{ $labels.account }})"
    "{{ with $labels.key }}, key {{ $labels.name }} ({{ . }}){{ end }}"
)
# Hourly quotas would raise alerts every hour, and a used-up trial one for ever.
_BUDGET = Match(service.PERIOD, "!~", "|hour|lifetime")
_MONEY = is_(service.UNIT, "nanousd")
_NO_MONEY = unlike(service.UNIT, "nanousd")
_FULL = 1.0


def alerts(thresholds: Thresholds) -> Iterator[Alert]:
    """Return the alerts."""
    yield _key_rate_limited(thresholds)
    for level, condition in between(limit_share(_BUDGET, _NO_MONEY, scope=EVERYTHING), thresholds.quota_levels):
        yield Alert(
            name="QuotaHigh",
            severity=_severity(level, thresholds),
            expression=owned(condition),
            hold="1m",
            summary=f"{level:.0%} of {_SUBJECT} is used",
            description=f"{SHARE} is used; at 100% calls are refused until the period ends.",
            impact="At 100% the account's calls are refused with 429 until the period ends.",
            page=of_limit(LIMITS_PAGE),
            labels={"level": f"{level:.0%}"},
        )
    yield _forecast("QuotaExhaustsBeforeReset", _NO_MONEY, thresholds)
    for level, condition in between(limit_share(_BUDGET, _MONEY, scope=EVERYTHING), thresholds.cost_levels):
        yield Alert(
            name="CostBudget",
            severity="ticket",
            expression=owned(condition),
            hold="1m",
            summary=f"{level:.0%} of the cost budget {_SUBJECT} is spent",
            description=f"{SHARE} is spent; at 100% calls are refused until the period ends.",
            impact="At 100% the account's calls are refused with 429 until the period ends.",
            page=of_limit(LIMITS_PAGE),
            labels={"level": f"{level:.0%}"},
        )
    yield _forecast("CostForecast", _MONEY, thresholds)
    yield _model_unpriced()


def _severity(level: float, thresholds: Thresholds) -> Severity:
    return "ticket" if level >= thresholds.quota_warning else "info"


def _key_rate_limited(thresholds: Thresholds) -> Alert:
    limited, every = (
        increase(REQUESTS, unlike(KEY, NO_KEY), *where, by=(JOB, KEY), window="5m", scope=EVERYTHING)
        for where in ((is_(STATUS, "429"),), ())
    )
    often = f"{limited} > {thresholds.limited_requests}"
    return Alert(
        name="KeyRateLimited",
        severity="ticket",
        expression=named(f"(({limited}) / ({every}) > {thresholds.limited_share}) and ({often})", JOB),
        hold="5m",
        summary=f"Key {NAMED_KEY} is hitting its limits",
        description=f"{SHARE} of the key's requests of the last 5 minutes were answered with 429 by "
        "{{ $labels.job }}: its client does not back off, or its plan is too small.",
        impact="The customer's users see errors or wait; the API itself is healthy.",
        page=subject(KEY_PAGE, key=label(KEY)),
    )


def _model_unpriced() -> Alert:
    return Alert(
        name="ModelUnpriced",
        severity="ticket",
        expression=occurred(COST_MISSING, by=(JOB, MODEL), window="1h"),
        hold="1m",
        summary=f"{{{{ $labels.job }}}} answers with {{{{ $labels.{label(MODEL)} }}}}, which has no price",
        description=f"{COUNT} calls in the last hour fall under a cost limit but have no known cost.",
        impact="Budgets are charged the reservation, which may be too much; these calls are missing from bills.",
        page=subject(MODELS_PAGE, model=label(MODEL)),
    )


def _forecast(name: str, unit: Match, thresholds: Thresholds) -> Alert:
    """Extrapolate the last six hours to the end of the period, unless they contain a reset."""
    kept = by_(service.ACCOUNT, service.KEY, service.LIMIT)
    used, most, reset = (
        f"max{kept} ({select(metric, _BUDGET, unit, scope=EVERYTHING)})"
        for metric in (service.LIMIT_USED, service.LIMIT_MAX, service.LIMIT_RESET)
    )
    series = f"{select(service.LIMIT_USED, _BUDGET, unit, scope=EVERYTHING)}[6h]"
    predicted = f"{used} + max{kept} (deriv({series})) * ({reset} - time())"
    worth_a_word = f"{used} / ({most} > 0) > {thresholds.forecast_share} < {_FULL}"
    # Not resets(…): settled reservations lower what is used all the time.
    ends = f"{select(service.LIMIT_RESET, _BUDGET, unit, scope=EVERYTHING)}[6h]"
    steady = f"max{kept} (changes({ends})) == 0"
    return Alert(
        name=name,
        severity="ticket",
        expression=owned(f"({predicted}) / ({most} > 0) > {_FULL} and ({worth_a_word}) and ({steady})"),
        hold="30m",
        summary=f"{_SUBJECT} will be used up before its period ends",
        description=f"At the pace of the last 6 hours it will be at {SHARE} of the limit at the end of the period.",
        impact="Once it is used up, the account's calls are refused with 429.",
        page=of_limit(LIMITS_PAGE),
    )
