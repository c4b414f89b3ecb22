"""The header fields that tell a caller its limits: the IETF draft's `RateLimit` and OpenAI's `x-ratelimit-*`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from keygauge.allowance import Allowance
from keygauge.clock import SECOND
from keygauge.limit import Limit

Fields = list[tuple[bytes, bytes]]

_TOLD = {"request": b"requests", "token": b"tokens"}  # the units that OpenAI's fields tell of
_OPENAI = tuple(b"x-ratelimit-%s-" % word for word in (b"limit", b"remaining", b"reset"))
_NAMES = frozenset(
    (b"ratelimit", b"ratelimit-policy", *(start + unit for unit in _TOLD.values() for start in _OPENAI)),
)
_PERIOD_S = {"day": 86_400, "month": 2_592_000}  # a month is told as 30 days: the field has no calendar


class Policy:
    """One key's limits as header fields (draft-ietf-httpapi-ratelimit-headers), written beforehand where possible."""

    __slots__ = ("_allowances", "_constant", "_format", "_told")

    def __init__(self, allowances: Sequence[Allowance]) -> None:
        limits = [allowance.limit for allowance in allowances]
        self._allowances = allowances
        self._format = b", ".join(b'"%s";r=%%d;t=%%d' % _name(limit).replace(b"%", b"%%") for limit in limits)
        self._constant: Fields = [(b"ratelimit-policy", b", ".join(map(_item, limits)))] if limits else []
        self._told: list[tuple[int, bytes, bytes]] = []  # place, and the names of the fields that change
        for unit, name in _TOLD.items():
            places = [place for place, limit in enumerate(limits) if limit.unit == unit and not limit.is_scoped]
            if places:
                place = next((place for place in places if limits[place].window_s), places[0])
                limit, remaining, reset = (start + name for start in _OPENAI)
                self._constant.append((limit, b"%d" % limits[place].amount))
                self._told.append((2 * place, remaining, reset))

    def fields(self, now_ns: int) -> Fields:
        """Write the fields for an answer; `Allowance.remaining` says what remains."""
        if not self._constant:
            return []
        numbers: list[int] = []
        for allowance in self._allowances:
            reset_ns = allowance.reset_ns - now_ns
            numbers += (allowance.remaining(now_ns), -(-reset_ns // SECOND) if reset_ns > 0 else 0)
        result = [*self._constant, (b"ratelimit", self._format % tuple(numbers))]
        for place, remaining, reset in self._told:
            result.append((remaining, b"%d" % numbers[place]))
            result.append((reset, b"%ds" % numbers[place + 1]))
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
