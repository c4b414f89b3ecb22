"""The header fields that tell a caller its limits: the IETF draft's `RateLimit` and OpenAI's `x-ratelimit-*`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import lru_cache

from keygauge.clock import SECOND
from keygauge.limits.lease_pool import LeasePool
from keygauge.limits.limit import Limit

Fields = list[tuple[bytes, bytes]]
Texts = list[tuple[str, str]]

# The fields that never change; the format of `ratelimit`; of OpenAI's fields that change the names, and the place of
# what remains among the numbers: the time until more comes free follows it.
_TextTemplate = tuple[Texts, str, list[tuple[int, str, str]]]
_ByteTemplate = tuple[Fields, bytes, list[tuple[int, bytes, bytes]]]

_TOLD = {"request": "requests", "token": "tokens"}  # the units that OpenAI's fields tell of
_OPENAI = [f"x-ratelimit-{word}-{name}" for word in ("limit", "remaining", "reset") for name in _TOLD.values()]
_TEXT_NAMES = ("ratelimit", "ratelimit-policy", *_OPENAI)
_NAMES = frozenset((*_TEXT_NAMES, *map(str.encode, _TEXT_NAMES)))
_CENT = 10_000_000  # nano-USD
_MOST = 10**15 - 1  # the largest integer of a structured field (RFC 9651)
_UP = SECOND - 1
_QUOTA_UNITS = {"token": "tokens", "nanousd": "us-cents", "concurrent": "concurrent-requests"}  # else: requests
_PERIOD_S = {"day": 86_400, "month": 2_592_000}  # a month is told as 30 days: the field has no calendar


class Policy:
    """One key's limits as header fields (draft-ietf-httpapi-ratelimit-headers), written beforehand where possible.

    As bytes for ASGI and as text for WSGI: to turn one into the other takes as long as to write it.
    """

    __slots__ = ("_bytes", "_lease_pools", "_texts")

    def __init__(self, lease_pools: Sequence[LeasePool]) -> None:
        self._lease_pools = [
            (lease_pool, _CENT if lease_pool.limit.unit == "nanousd" else 1) for lease_pool in lease_pools
        ]
        self._texts, self._bytes = _templates(tuple(replace(lease_pool.limit, id="") for lease_pool in lease_pools))

    def fields(self, now_ns: int, beside: Collection[bytes] = ()) -> Fields:
        """Write the fields for an answer, beside those it has by itself: their names, in lower case."""
        constant, form, told = self._bytes
        if not constant:
            return []
        numbers = self._numbers(now_ns)
        result = [*constant, (b"ratelimit", form % tuple(numbers))]
        for place, remaining, reset in told:
            result += ((remaining, b"%d" % numbers[place]), (reset, b"%ds" % numbers[place + 1]))
        return result if _NAMES.isdisjoint(beside) else [field for field in result if field[0] not in beside]

    def texts(self, now_ns: int, beside: Collection[str] = ()) -> Texts:
        """Write them as text."""
        constant, form, told = self._texts
        if not constant:
            return []
        numbers = self._numbers(now_ns)
        result = [*constant, ("ratelimit", form % tuple(numbers))]
        for place, remaining, reset in told:
            result += ((remaining, str(numbers[place])), (reset, f"{numbers[place + 1]}s"))
        return result if _NAMES.isdisjoint(beside) else [field for field in result if field[0] not in beside]

    def _numbers(self, now_ns: int) -> list[int]:
        """Count of each limit what remains, and the seconds until more comes free."""
        numbers: list[int] = []
        for lease_pool, unit in self._lease_pools:
            remaining = lease_pool.remaining(now_ns)
            if unit != 1:
                remaining //= unit
            reset_ns = lease_pool.reset_ns - now_ns
            reset_s = (reset_ns + _UP) // SECOND if reset_ns > 0 else 0
            numbers += (remaining if remaining < _MOST else _MOST, reset_s)  # noqa: FURB136 - min() takes longer
        return numbers


@lru_cache  # the keys of a plan share them
def _templates(limits: tuple[Limit, ...]) -> tuple[_TextTemplate, _ByteTemplate]:
    """Write what never changes of the fields for some limits."""
    constant = [("ratelimit-policy", ", ".join(map(_item, limits)))] if limits else []
    told: list[tuple[int, str, str]] = []
    for unit, name in _TOLD.items():
        places = [place for place, limit in enumerate(limits) if limit.unit == unit and not limit.is_scoped]
        if places:
            place = next((place for place in places if limits[place].window_s), places[0])
            constant.append((f"x-ratelimit-limit-{name}", str(limits[place].amount)))
            told.append((2 * place, f"x-ratelimit-remaining-{name}", f"x-ratelimit-reset-{name}"))
    form = ", ".join('"{}";r=%d;t=%d'.format(_name(limit).replace("%", "%%")) for limit in limits)
    return (constant, form, told), (
        [(name.encode(), value.encode()) for name, value in constant],
        form.encode(),
        [(place, remaining.encode(), reset.encode()) for place, remaining, reset in told],
    )


def _item(limit: Limit) -> str:
    amount = min(limit.amount // _CENT if limit.unit == "nanousd" else limit.amount, _MOST)
    unit = f';qu="{_QUOTA_UNITS[limit.unit]}"' if limit.unit in _QUOTA_UNITS else ""
    window = "" if limit.unit == "concurrent" else f";w={limit.window_s or _PERIOD_S[limit.period or 'day']}"
    return f'"{_name(limit)}";q={amount}{unit}{window}'


def _name(limit: Limit) -> str:
    return "".join(char if char.isascii() and char.isprintable() and char not in '"\\' else "?" for char in limit.name)
