"""The overview: requests, plan, quotas, what needs attention, and the last 30 days."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import cast, get_args

from flask import Blueprint, Response, redirect, render_template, request, url_for

from keygauge.warning_levels import QUOTA_NEAR
from keygauge_keyservice.accounts import accounts, dismissals, plans
from keygauge_keyservice.billing import billing
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.keys import keys
from keygauge_keyservice.portal import alerts, auth, date_range, formatting, limit_text, reader, unpriced
from keygauge_keyservice.portal.charts import timeline
from keygauge_keyservice.portal.charts.metric import METRICS
from keygauge_keyservice.portal.date_range import DateRange
from keygauge_keyservice.texts import gettext, mark, ngettext
from keygauge_keyservice.usage import quota, usage
from keygauge_keyservice.usage.live_rates import LiveRates, Streams, find_live_rates
from keygauge_keyservice.usage.quota import Quota
from keygauge_keyservice.usage.usage import Point
from keygauge_keyservice.web.context import services

blueprint = Blueprint("overview", __name__)

_MINUTE_S = 60
_NAME_LENGTH_MAX = 300
_UNITS = {
    "request": mark("Requests"),
    "token": mark("Tokens"),
    "input_token": mark("Input tokens"),
    "output_token": mark("Output tokens"),
    "nanousd": mark("Cost"),
    "concurrent": mark("Concurrent requests"),
}


@dataclass(frozen=True)
class Gauge:
    """A quota in displayable form."""

    used: str
    amount: str
    remaining: str
    unit: str
    period: str
    only: str  # its scope, such as a model
    percent: float
    resets_at: datetime | None  # None: never

    @property
    def text(self) -> str:
        """Return the amount in words: 20,000 requests this month."""
        unit = self.unit or gettext("budget")
        amount = gettext("%(amount)s %(unit)s %(period)s", amount=self.amount, unit=unit, period=self.period)
        return amount + self.only

    @property
    def level(self) -> str:
        """Return the CSS class."""
        if self.percent >= 100:  # noqa: PLR2004 - percent
            return "over"
        return "near" if self.percent >= QUOTA_NEAR * 100 else "fine"


@dataclass(frozen=True)
class RateRow:
    """A rate in displayable form; `limit` is None without a limit, and then there may be a `note`."""

    unit: str
    used: int
    limit: int | None
    is_money: bool = False
    note: str = ""

    @property
    def percent(self) -> float:
        """Return the percentage of the limit that is used, at most 100."""
        return min(100.0, 100 * self.used / self.limit) if self.limit else 0.0


@blueprint.get("/")
def show() -> str:
    """Show the account's current state."""
    now = datetime.now(UTC)
    account_id = auth.current_account_id()
    month = date_range.of_preset("30d", now=now, zone=reader.zone())
    with services().connection() as connection:
        account = accounts.require(connection, account_id)
        plan = plans.require(connection, account.plan_id)
        quotas = quota.find_of_account(connection, account_id, now=now)
        statement = billing.find_statement(connection, account_id, now=now)
        live_rates = find_live_rates(connection, account_id, now=now)
        key = next(iter(keys.list_keys(connection, account_id, limit=1)), None)
        found_alerts = alerts.find_with(connection, account_id, quotas, now=now)
        dismissed = dismissals.find(connection, auth.current_member().id, now=now)
        before = month.previous(now=now)
        totals = usage.totals(connection, account_id=account_id, start=month.start, end=month.end)
        earlier = usage.totals(connection, account_id=account_id, start=before.start, end=before.end)
        is_unpriced = bool(unpriced.find(connection, totals, account_id=account_id, start=month.start, end=month.end))
        points = usage.series(
            connection, account_id=account_id, start=month.start, end=month.end, bucket="day", zone=month.zone.key
        )
    gauges = [gauge(found) for found in quotas]
    charts = ("requests", "tokens") if totals.tokens else ("requests",)
    return render_template(
        "portal/overview.html",
        account=account,
        plan=plan,
        rates=[limit_text.describe(limit) for limit in plan.limits if limit.period is None or limit.per_tag],
        gauges=gauges,
        full=[one for one, found in zip(gauges, quotas, strict=True) if one.level != "fine" and not found.dry_run],
        statement=statement,
        alerts=[one for one in found_alerts if (one.kind != "quota" or one.key_id) and one.name not in dismissed],
        key=key,
        rate_rows=rate_rows(live_rates),
        totals=totals,
        is_unpriced=is_unpriced,
        earlier=earlier,
        days=_days(account.created_at, points, month, now),
        charts=[
            (METRICS[name], timeline.draw_metric(name, METRICS[name], points, "day", zone=month.zone))
            for name in charts
            if totals.requests
        ],
        change=formatting.change,
    )


def _days(created_at: datetime, points: Sequence[Point], month: DateRange, now: datetime) -> float:
    """Return the number of days over which to average, without those before the account or its first call."""
    first = next((point.start for point in points if point.requests), month.start)
    begun = max(month.start, min(created_at, first))
    return max(1.0, (min(now, month.end) - begun) / timedelta(days=1))


@blueprint.post("/alerts/dismiss")
def dismiss() -> Response:
    """Hide an alert from the current member for some days."""
    name = request.form.get("name", "")
    if name.partition(":")[0] not in get_args(alerts.Kind) or len(name) > _NAME_LENGTH_MAX:
        raise Problem(422, "bad_form", gettext("Choose an alert from the overview."))
    with services().connection() as connection:
        dismissals.add(connection, auth.current_member().id, name)
    return cast("Response", redirect(url_for("portal.overview.show"), 303))


@blueprint.get("/live")
def live() -> Response:
    """Return the rows of current usage, or a 304 if the page already has them."""
    account_id = auth.current_account_id()
    with services().connection() as connection:
        rows = rate_rows(find_live_rates(connection, account_id))
    response = Response(
        render_template("portal/rate_rows.html", rate_rows=rows), content_type="text/html; charset=utf-8"
    )
    response.headers["Cache-Control"] = "no-cache, private"
    response.add_etag()
    return response.make_conditional(request)  # type: ignore[return-value]  # the same response


def rate_rows(now: LiveRates) -> list[RateRow]:
    """Return a row for each rate with its current window, and for the last minute's usage without a rate."""
    rows = []
    for rate in now.rates:
        is_money = rate.unit == "nanousd"
        unit = rate.unit_name.capitalize() if rate.unit_name else gettext(_UNITS[rate.unit])
        window = limit_text.window(rate.window_s or 0)
        if rate.window_s is None:
            text = unit
        elif rate.smooth:
            pace = formatting.count(rate.amount)
            text = gettext("%(unit)s at once, at %(pace)s per %(window)s", unit=unit, pace=pace, window=window)
        else:
            text = gettext("%(unit)s per %(window)s", unit=unit, window=window)
        rows.append(RateRow(text + limit_text.only(rate), rate.used, rate.most, is_money))
    measured = {rate.unit for rate in now.rates if rate.window_s == _MINUTE_S and not rate.smooth}
    if "request" not in measured:
        rows.append(RateRow(gettext("Requests per minute"), now.requests_per_minute, None))
    if "token" not in measured:
        rows.append(RateRow(gettext("Tokens per minute"), now.tokens_per_minute, None))
    if now.streams.oldest_at is not None:
        rows.append(_streams(now.streams, now.streams.oldest_at))
    return rows


def _streams(streams: Streams, oldest_at: datetime) -> RateRow:
    """Return the row of open streams: how many, the age of the oldest, and the messages sent."""
    opened = formatting.span(max(0, round((datetime.now(UTC) - oldest_at).total_seconds())))
    number = formatting.count(streams.messages)
    messages = ngettext("%(number)s message", "%(number)s messages", streams.messages, number=number)
    note = gettext("Longest %(duration)s, %(messages)s", duration=opened, messages=messages)
    return RateRow(gettext("Open streams"), streams.open, None, note=note)


def gauge(found: Quota) -> Gauge:
    """Return a quota in displayable form, in its unit."""

    def write(number: int) -> str:
        return formatting.amount(number, found.unit, found.credit_nanousd)

    return Gauge(
        used=write(found.used),
        amount=write(found.amount),
        remaining=write(found.remaining),
        unit=formatting.unit_name(found.unit, found.credit_nanousd, found.unit_name),
        period=limit_text.when(found),
        only=limit_text.only(found),
        percent=min(100.0, 100 * found.used / found.amount) if found.amount else 100.0,
        resets_at=found.resets_at,
    )
