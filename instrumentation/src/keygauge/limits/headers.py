"""The header fields that tell a caller its limits: the IETF draft's `RateLimit` and OpenAI's `x-ratelimit-*`."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from keygauge.clock import SECOND
from keygauge.limits.lease_pool import LeasePool
from keygauge.limits.limit import Limit

Fields = list[tuple[bytes, bytes]]
Texts = list[tuple[str, str]]

_TOLD = {"request": "requests", "token": "tokens"}  # the units that OpenAI's fields tell of
_OPENAI = [f"x-ratelimit-{word}-{name}" for word in ("limit", "remaining", "reset") for name in _TOLD.values()]
_TEXT_NAMES = ("ratelimit", "ratelimit-policy", *_OPENAI)
_NAMES = frozenset((*_TEXT_NAMES, *map(str.encode, _TEXT_NAMES)))
_CENT = 10_000_000  # nano-USD
_MOST = 10**15 - 1  # the largest integer of a structured field (RFC 9651)
_QUOTA_UNITS = {"token": "tokens", "nanousd": "us-cents", "concurrent": "concurrent-requests"}  # else: requests
_PERIOD_S = {"day": 86_400, "month": 2_592_000}  # a month is told as 30 days: the field has no calendar


class Policy:
    """One key's limits as header fields (draft-ietf-httpapi-ratelimit-headers), written beforehand where possible.

    As bytes for ASGI and as text for WSGI: to turn one into the other takes as long as to write it.
    """

    __slots__ = ("_constant", "_constant_texts", "_format", "_format_text", "_lease_pools", "_told", "_told_texts")

    def __init__(self, lease_pools: Sequence[LeasePool]) -> None:
        limits = [lease_pool.limit for lease_pool in lease_pools]
        constant = [("ratelimit-policy", ", ".join(map(_item, limits)))] if limits else []
        told: list[tuple[int, str, str]] = []  # place, and the names of the fields that change
        for unit, name in _TOLD.items():
            places = [place for place, limit in enumerate(limits) if limit.unit == unit and not limit.is_scoped]
            if places:
                place = next((place for place in places if limits[place].window_s), places[0])
                constant.append((f"x-ratelimit-limit-{name}", str(limits[place].amount)))
                told.append((2 * place, f"x-ratelimit-remaining-{name}", f"x-ratelimit-reset-{name}"))
        self._lease_pools = [
            (lease_pool, _CENT if lease_pool.limit.unit == "nanousd" else 1) for lease_pool in lease_pools
        ]
        self._constant_texts: Texts = constant
        self._constant: Fields = [(name.encode(), value.encode()) for name, value in constant]
        self._format_text = ", ".join('"{}";r=%d;t=%d'.format(_name(limit).replace("%", "%%")) for limit in limits)
        self._format = self._format_text.encode()
        self._told_texts = told
        self._told = [(place, remaining.encode(), reset.encode()) for place, remaining, reset in told]

    def fields(self, now_ns: int, beside: Collection[bytes] = ()) -> Fields:
        """Write the fields for an answer, beside those it has by itself: their names, in lower case."""
        if not self._constant:
            return []
        numbers = self._numbers(now_ns)
        result = [*self._constant, (b"ratelimit", self._format % tuple(numbers))]
        for place, remaining, reset in self._told:
            result.append((remaining, b"%d" % numbers[place]))
            result.append((reset, b"%ds" % numbers[place + 1]))
        return result if _NAMES.isdisjoint(beside) else [field for field in result if field[0] not in beside]

    def texts(self, now_ns: int, beside: Collection[str] = ()) -> Texts:
        """Write them as text."""
        if not self._constant:
            return []
        numbers = self._numbers(now_ns)
        result = [*self._constant_texts, ("ratelimit", self._format_text % tuple(numbers))]
        for place, remaining, reset in self._told_texts:
            result.append((remaining, str(numbers[place])))
            result.append((reset, f"{numbers[place + 1]}s"))
        return result if _NAMES.isdisjoint(beside) else [field for field in result if field[0] not in beside]

    def _numbers(self, now_ns: int) -> list[int]:
        """Count of each limit what remains, and the seconds until more comes free."""
        numbers: list[int] = []
        for lease_pool, unit in self._lease_pools:
            reset_ns = lease_pool.reset_ns - now_ns
            numbers.append(min(lease_pool.remaining(now_ns) // unit, _MOST))
            numbers.append(-(-reset_ns // SECOND) if reset_ns > 0 else 0)
        return numbers


def _item(limit: Limit) -> str:
    amount = min(limit.amount // _CENT if limit.unit == "nanousd" else limit.amount, _MOST)
    unit = f';qu="{_QUOTA_UNITS[limit.unit]}"' if limit.unit in _QUOTA_UNITS else ""
    window = "" if limit.unit == "concurrent" else f";w={limit.window_s or _PERIOD_S[limit.period or 'day']}"
    return f'"{_name(limit)}";q={amount}{unit}{window}'


def _name(limit: Limit) -> str:
    return "".join(char if char.isascii() and char.isprintable() and char not in '"\\' else "?" for char in limit.name)
