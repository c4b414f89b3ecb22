"""Limits in words."""

from __future__ import annotations

from keygauge_keyservice.limits.definitions import Limit
from keygauge_keyservice.portal import formatting
from keygauge_keyservice.usage.live_rates import Rate
from keygauge_keyservice.usage.quota import Quota

SPANS_S = {1: "second", 60: "minute", 3600: "hour", 86400: "day"}
_PERIODS = {"hour": "clock hour"}  # not any hour, as a rate


def describe(limit: Limit, *, is_own: bool = False) -> str:
    """Write a limit with what it is confined to: 20,000 requests per month, model gpt-4o only."""
    text = rate(limit).removesuffix(", per key" if is_own else "")
    return text + only(limit)


def only(limit: Limit | Quota | Rate) -> str:
    """Write what a limit is confined to, and that it refuses nobody: , model gpt-4o only (dry run)."""
    scopes = [f"{name} {value}" for name, value in (("endpoint", limit.route), ("model", limit.model)) if value]
    return (f", {' and '.join(scopes)} only" if scopes else "") + (" (dry run)" if limit.dry_run else "")


def rate(limit: Limit) -> str:
    """Write a limit: 600 requests per minute, 1 concurrent request, $20.00 per month."""
    unit = formatting.unit_name(limit.unit, limit.credit_nanousd)
    amount = f"{formatting.amount(limit.amount, limit.unit, limit.credit_nanousd)} {unit}".strip()
    if limit.amount == 1 and not limit.credit_nanousd:
        amount = amount.removesuffix("s")
    window = _PERIODS.get(limit.period or "", limit.period) or SPANS_S.get(
        limit.window_s or 0, f"{limit.window_s} seconds"
    )
    pace = "" if limit.unit == "concurrent" else f" per {window}"
    return f"{amount}{pace}{', per key' if limit.subject == 'key' else ''}"
