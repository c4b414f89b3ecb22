"""The header fields that tell a caller its limits: the IETF draft's `RateLimit` and OpenAI's `x-ratelimit-*`."""

from __future__ import annotations

from collections.abc import Iterable

from keygauge.clock import SECOND
from keygauge.limit import Allowance, Limit

Fields = list[tuple[bytes, bytes]]

_PERIOD_S = {"day": 86_400, "month": 2_592_000}  # a month is told as 30 days: the field has no calendar


def policy(limits: Iterable[Limit]) -> bytes:
    """Write the `RateLimit-Policy` field's value (draft-ietf-httpapi-ratelimit-headers)."""
    items = [
        f'"{limit.name}";q={limit.amount};w={limit.window_s or _PERIOD_S[limit.period or "day"]}' for limit in limits
    ]
    return ", ".join(items).encode("ascii", "replace")


def fields(allowances: Iterable[Allowance], policy_value: bytes, now_ns: int) -> Fields:
    """Write the fields for an answer. What remains is a lower bound: the units this process holds."""
    if not policy_value:
        return []
    items = []
    result: Fields = [(b"ratelimit-policy", policy_value)]
    for allowance in allowances:
        limit = allowance.limit
        remaining = allowance.available(now_ns)
        reset_s = max(-((now_ns - allowance.reset_ns) // SECOND), 0)
        items.append(f'"{limit.name}";r={remaining};t={reset_s}')
        if limit.window_s and limit.unit == "request":
            result += (
                (b"x-ratelimit-limit-requests", b"%d" % limit.amount),
                (b"x-ratelimit-remaining-requests", b"%d" % remaining),
                (b"x-ratelimit-reset-requests", b"%ds" % reset_s),
            )
    result.append((b"ratelimit", ", ".join(items).encode("ascii", "replace")))
    return result
