"""The header fields that tell a caller its limits: the IETF draft's `RateLimit` and OpenAI's `x-ratelimit-*`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from keygauge.allowance import Allowance
from keygauge.clock import SECOND
from keygauge.limit import Limit

Fields = list[tuple[bytes, bytes]]

_NAMES = frozenset(
    (
        b"ratelimit",
        b"ratelimit-policy",
        b"x-ratelimit-limit-requests",
        b"x-ratelimit-remaining-requests",
        b"x-ratelimit-reset-requests",
    )
)
_PERIOD_S = {"day": 86_400, "month": 2_592_000}  # a month is told as 30 days: the field has no calendar


class Policy:
    """One key's limits as header fields (draft-ietf-httpapi-ratelimit-headers), written beforehand where possible."""

    __slots__ = ("_allowances", "_constant", "_format", "_rate")

    def __init__(self, allowances: Sequence[Allowance]) -> None:
        limits = [allowance.limit for allowance in allowances]
        self._allowances = allowances
        self._format = b", ".join(b'"%s";r=%%d;t=%%d' % _name(limit).replace(b"%", b"%%") for limit in limits)
        self._constant: Fields = [(b"ratelimit-policy", b", ".join(map(_item, limits)))] if limits else []
        rates = [place for place, limit in enumerate(limits) if limit.window_s and limit.unit == "request"]
        self._rate = rates[0] if rates else None  # the one that OpenAI's fields tell of
        if rates:
            self._constant.append((b"x-ratelimit-limit-requests", b"%d" % limits[rates[0]].amount))

    def fields(self, now_ns: int) -> Fields:
        """Write the fields for an answer.

        What remains is what this process holds and its part of what was left after the last grant: the other processes
        can count on as much.
        """
        if not self._constant:
            return []
        numbers: list[int] = []
        for allowance in self._allowances:
            reset_ns = allowance.reset_ns - now_ns
            numbers += (allowance.available(now_ns) + allowance.rest, -(-reset_ns // SECOND) if reset_ns > 0 else 0)
        result = [*self._constant, (b"ratelimit", self._format % tuple(numbers))]
        if self._rate is not None:
            result.append((b"x-ratelimit-remaining-requests", b"%d" % numbers[2 * self._rate]))
            result.append((b"x-ratelimit-reset-requests", b"%ds" % numbers[2 * self._rate + 1]))
        return result


def beside(fields: Fields, names: Iterable[bytes]) -> Fields:
    """Leave out what the host's answer says itself: its names, in lower case."""
    own = _NAMES.intersection(names)
    return [field for field in fields if field[0] not in own] if own else fields


def _item(limit: Limit) -> bytes:
    if limit.unit == "concurrent":
        return b'"%s";q=%d;qu="concurrent-requests"' % (_name(limit), limit.amount)
    return b'"%s";q=%d;w=%d' % (_name(limit), limit.amount, limit.window_s or _PERIOD_S[limit.period or "day"])


def _name(limit: Limit) -> bytes:
    return limit.name.encode("ascii", "replace").replace(b'"', b"?")
