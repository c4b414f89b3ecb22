"""Limits in words."""

from __future__ import annotations

from keygauge_keyservice.limits.definitions import Limit
from keygauge_keyservice.portal import formatting, reader
from keygauge_keyservice.texts import gettext, mark, ngettext
from keygauge_keyservice.usage.live_rates import Rate
from keygauge_keyservice.usage.quota import Quota
from keygauge_keyservice.values import time_zone

SPANS_S = {1: mark("second"), 60: mark("minute"), 3600: mark("hour"), 86400: mark("day")}
_PERIODS = {
    "hour": mark("clock hour"),  # not a rolling hour, unlike a rate
    "day": mark("day"),
    "week": mark("week"),
    "month": mark("month"),
    "quarter": mark("quarter"),
    "year": mark("year"),
}


def describe(limit: Limit, *, is_own: bool = False) -> str:
    """Describe a limit and its scope: 20,000 requests per month, model gpt-4o only."""
    return (_of_tags(limit, _rate(limit)) if is_own else rate(limit)) + only(limit)


def only(limit: Limit | Quota | Rate) -> str:
    """Describe a limit's scope and whether it is a dry run: , model gpt-4o only (dry run)."""
    scopes = [
        *([gettext("endpoint %(name)s", name=limit.route)] if limit.route else []),
        *([gettext("model %(name)s", name=limit.model)] if limit.model else []),
        *([gettext("tool %(name)s", name=limit.tool)] if limit.tool else []),
    ]
    text = gettext(", %(scopes)s only", scopes=gettext(" and ").join(scopes)) if scopes else ""
    return text + (gettext(" (dry run)") if limit.dry_run else "")


def rate(limit: Limit) -> str:
    """Describe a limit: 600 requests per minute, 1 concurrent request, $20.00 per month."""
    text = _rate(limit)
    return _of_tags(limit, gettext("%(limit)s, per key", limit=text) if limit.subject == "key" else text)


def _of_tags(limit: Limit, text: str) -> str:
    return gettext("%(limit)s, per tag", limit=text) if limit.per_tag else text


def when(quota: Quota) -> str:
    """Describe a quota's current period, to follow an amount used: this month, since 15 Nov, in total."""
    if quota.anchor is None:
        return quota.when
    day = formatting.time_label(quota.starts_at, "d MMM", time_zone.find(quota.zone) or reader.UTC_ZONE)
    return gettext("since %(day)s", day=day)


def window(window_s: int) -> str:
    """Describe a rate's window, to follow "per": minute, 90 seconds."""
    return (
        gettext(SPANS_S[window_s]) if window_s in SPANS_S else ngettext("%(num)s second", "%(num)s seconds", window_s)
    )


def _rate(limit: Limit) -> str:
    amount = formatting.amount_of(limit)
    if limit.weights is not None:
        amount += f" ({limit.weights})"
    if limit.unit == "concurrent":
        return amount
    if limit.period is None:
        return gettext("%(amount)s per %(window)s", amount=amount, window=window(limit.window_s or 0))
    if limit.period == "lifetime":
        return gettext("%(amount)s total", amount=amount)
    text = gettext("%(amount)s per %(window)s", amount=amount, window=gettext(_PERIODS[limit.period]))
    if limit.anchor:
        text = gettext("%(limit)s from %(day)s", limit=text, day=formatting.date_text(limit.anchor))
    return f"{text} ({limit.zone})" if limit.zone else text
