"""The overview: plan, quotas, what needs attention, and the last ninety days."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from flask import Blueprint, Response, render_template, request, url_for

from keygauge_keyservice import accounts, keys, plans, quota, usage
from keygauge_keyservice.keys import Key
from keygauge_keyservice.pace import Pace, find_pace
from keygauge_keyservice.plan_limits import Limit
from keygauge_keyservice.portal import figures, guard, span, timeline
from keygauge_keyservice.quota import Quota
from keygauge_keyservice.services import services

blueprint = Blueprint("overview", __name__)

_MINUTE_S = 60
_NEAR = 0.8  # of a quota
_EXPIRES_SOON = timedelta(days=14)
_UNUSED = timedelta(days=60)
_PERIODS = {"day": "today", "month": "this month"}
_SPANS_S = {1: "second", 60: "minute", 3600: "hour", 86400: "day"}


@dataclass(frozen=True)
class Gauge:
    """A quota as it is shown."""

    used: str
    amount: str
    remaining: str
    unit: str
    period: str
    percent: float
    resets_at: datetime

    @property
    def level(self) -> str:
        """Return a class of the stylesheet."""
        if self.percent >= 100:  # noqa: PLR2004 - percent
            return "over"
        return "near" if self.percent >= _NEAR * 100 else "fine"


@dataclass(frozen=True)
class PaceRow:
    """A rate as it is shown; `limit` is None where the plan has none."""

    unit: str
    used: int
    limit: int | None

    @property
    def percent(self) -> float:
        """Return how much of the limit is used, at most 100."""
        return min(100.0, 100 * self.used / self.limit) if self.limit else 0.0


@dataclass(frozen=True)
class Remark:
    """Something that needs attention, and where to look."""

    text: str
    address: str


@blueprint.get("/")
def show() -> str:
    """Show how the account stands."""
    now = datetime.now(UTC)
    account_id = guard.current_account_id()
    month, quarter = span.of_preset("30d", now=now), span.of_preset("90d", now=now)
    with services().connection() as connection:
        account = accounts.require(connection, account_id)
        plan = plans.require(connection, account.plan_id)
        quotas = [found for found in quota.find_quotas(connection, account_id, now=now) if found.key_id is None]
        pace = find_pace(connection, account_id, now=now)
        listed = keys.list_keys(connection, account_id)
        totals = usage.totals(connection, account_id=account_id, start=quarter.start, end=quarter.end)
        points = usage.series(connection, account_id=account_id, start=month.start, end=month.end, bucket=month.bucket)
    return render_template(
        "portal/overview.html",
        account=account,
        plan=plan,
        rates=[rate(limit) for limit in plan.limits if limit.period is None],
        gauges=[gauge(found) for found in quotas],
        remarks=remarks(quotas, listed, now=now),
        keys=listed,
        paces=paces(pace),
        totals=totals,
        days=(quarter.end - quarter.start).days,
        chart=timeline.draw_tokens(points, month.bucket) if totals.requests else "",
        month_tokens=sum(point.tokens for point in points),
    )


@blueprint.get("/live")
def live() -> Response:
    """Answer with the rows of what is used now; 304 where they are those the page has."""
    account_id = guard.current_account_id()
    with services().connection() as connection:
        rows = paces(find_pace(connection, account_id))
    response = Response(render_template("portal/pace_rows.html", paces=rows), content_type="text/html; charset=utf-8")
    response.headers["Cache-Control"] = "no-cache, private"
    response.add_etag()
    return response.make_conditional(request)  # type: ignore[return-value]  # the same response


def paces(now: Pace) -> list[PaceRow]:
    """Write the last minute, and each rate of the plan with what its last window holds."""
    rows = [
        PaceRow(
            f"{rate.unit.capitalize()}s per {_SPANS_S.get(rate.window_s, f'{rate.window_s} s')}", rate.used, rate.amount
        )
        for rate in now.rates
        if rate.unit != "nanousd"
    ]
    measured = {rate.unit for rate in now.rates if rate.window_s == _MINUTE_S}
    for unit, used in (("request", now.requests_per_minute), ("token", now.tokens_per_minute)):
        if unit not in measured:
            rows.append(PaceRow(f"{unit.capitalize()}s per minute", used, None))
    return rows


def gauge(found: Quota) -> Gauge:
    """Write a quota's numbers in its unit."""
    used, amount, remaining = (_in_unit(found, number) for number in (found.used, found.amount, found.remaining))
    return Gauge(
        used=used,
        amount=amount,
        remaining=remaining,
        unit="credits" if found.credit_nanousd else "" if found.unit == "nanousd" else f"{found.unit}s",
        period=_PERIODS[found.period],
        percent=min(100.0, 100 * found.used / found.amount) if found.amount else 100.0,
        resets_at=found.resets_at,
    )


def _in_unit(found: Quota, number: int) -> str:
    if found.credit_nanousd:
        return figures.credits_of(number, found.credit_nanousd)
    return figures.money(number) if found.unit == "nanousd" else figures.count(number)


def describe(limit: Limit, *, is_own: bool = False) -> str:
    """Write a limit with what it is confined to: 20,000 requests per month, model gpt-4o only."""
    text = rate(limit).removesuffix(" for each key" if is_own else "")
    scopes = [f"{name} {value}" for name, value in (("endpoint", limit.route), ("model", limit.model)) if value]
    return text + (f", {' and '.join(scopes)} only" if scopes else "") + (", tried only" if limit.dry_run else "")


def rate(limit: Limit) -> str:
    """Write a limit: 600 requests per minute, 1 request at once, $20.00 per month."""
    unit = "request" if limit.unit == "concurrent" else limit.unit
    amount = f"{figures.count(limit.amount)} {unit}{'' if limit.amount == 1 else 's'}"
    if limit.credit_nanousd:
        amount = f"{figures.credits_of(limit.amount, limit.credit_nanousd)} credits"
    elif limit.unit == "nanousd":
        amount = figures.money(limit.amount)
    window = limit.period or _SPANS_S.get(limit.window_s or 0, f"{limit.window_s} seconds")
    pace = "at once" if limit.unit == "concurrent" else f"per {window}"
    return f"{amount} {pace}{' for each key' if limit.subject == 'key' else ''}"


def _named(found: Quota) -> str:
    if found.credit_nanousd:
        return "credits are"
    return "budget is" if found.unit == "nanousd" else f"{found.unit} quota is"


def remarks(quotas: Sequence[Quota], listed: Sequence[Key], *, now: datetime) -> list[Remark]:
    """Say what needs attention: quotas that run out, keys that expire, expired, or are not used."""
    found = [
        Remark(
            f"{figures.share(one.used, one.amount)} of {_PERIODS[one.period]}'s {_named(one)} used.",
            url_for("portal.usage.show"),
        )
        for one in quotas
        if one.amount and one.used >= _NEAR * one.amount
    ]
    address = url_for("portal.keys.show")
    for key in listed:
        if key.expires_at is not None and key.expires_at <= now:
            found.append(Remark(f"“{key.name}” expired on {figures.day(key.expires_at)}.", address))
        elif key.expires_at is not None and key.expires_at <= now + _EXPIRES_SOON:
            found.append(Remark(f"“{key.name}” expires on {figures.day(key.expires_at)}.", address))
        elif key.rotate_every_days and key.rotated_at + timedelta(days=key.rotate_every_days) <= now:
            found.append(
                Remark(
                    f"“{key.name}” was last rotated on {figures.day(key.rotated_at)}: it is due.",
                    url_for("portal.key.show", key_id=key.id),
                )
            )
        elif key.status == "active" and (key.last_used_at or key.created_at) < now - _UNUSED:
            found.append(Remark(f"“{key.name}” has not been used for {_UNUSED.days} days: disable it?", address))
    return found
