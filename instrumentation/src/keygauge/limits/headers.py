"""The header fields that tell a caller its limits: the IETF draft's `RateLimit` and OpenAI's `x-ratelimit-*`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import AnyStr

from keygauge.clock import SECOND
from keygauge.limits.lease_pool import LeasePool
from keygauge.limits.limit import Limit

Fields = list[tuple[bytes, bytes]]

# The fields that never change. Of `ratelimit` its name and format. Of OpenAI's fields that change the place of what
# remains among the numbers, which the time until more comes free follows, and name and format of both.
Template = tuple[list[tuple[AnyStr, AnyStr]], AnyStr, AnyStr, list[tuple[int, AnyStr, AnyStr, AnyStr, AnyStr]]]

_TOKENS = {"token": "tokens", "input_token": "input-tokens", "output_token": "output-tokens"}
_TOLD = {"request": "requests", **_TOKENS}  # the units that fields in OpenAI's form tell of
_OPENAI = [f"x-ratelimit-{word}-{name}" for word in ("limit", "remaining", "reset") for name in _TOLD.values()]
_TEXT_NAMES = ("ratelimit", "ratelimit-policy", *_OPENAI)
_NAMES = frozenset((*_TEXT_NAMES, *map(str.encode, _TEXT_NAMES)))
_CENT = 10_000_000  # nano-USD
_MOST = 10**15 - 1  # the largest integer of a structured field (RFC 9651)
_UP = SECOND - 1
_QUOTA_UNITS = {**_TOKENS, "nanousd": "us-cents", "concurrent": "concurrent-requests"}  # else: requests
_DAY_S = 86_400
_PERIOD_S = {  # the field has no calendar
    "hour": 3_600,
    "day": _DAY_S,
    "week": 7 * _DAY_S,
    "month": 30 * _DAY_S,
    "quarter": 90 * _DAY_S,
    "year": 365 * _DAY_S,
}


class Policy:
    """One key's limits as header fields (draft-ietf-httpapi-ratelimit-headers), written beforehand where possible.

    As bytes for ASGI and as text for WSGI: to turn one into the other takes as long as to write it.
    """

    __slots__ = ("_lease_pools", "as_bytes", "as_text")

    def __init__(self, lease_pools: Sequence[LeasePool]) -> None:
        self._lease_pools = [
            (lease_pool, _CENT if lease_pool.limit.unit == "nanousd" else 1) for lease_pool in lease_pools
        ]
        self.as_text, self.as_bytes = _templates(tuple(replace(lease_pool.limit, id="") for lease_pool in lease_pools))

    def fields(
        self,
        template: Template[AnyStr],
        now_ns: int,
        beside: Collection[AnyStr] = (),
    ) -> list[tuple[AnyStr, AnyStr]]:
        """Write the fields `as_bytes` or `as_text`; `beside` are the names of those that the answer has by itself."""
        constant, name, form, told = template
        if not constant:
            return []
        numbers: list[int] = []
        for lease_pool, unit in self._lease_pools:
            remaining = lease_pool.remaining(now_ns)
            reset_s = (lease_pool.reset_ns - now_ns + _UP) // SECOND
            if unit != 1:
                remaining //= unit
            # min() and max() take longer
            numbers += (remaining if remaining < _MOST else _MOST, reset_s if reset_s > 0 else 0)  # noqa: FURB136
        result: list[tuple[AnyStr, AnyStr]] = [*constant, (name, form % tuple(numbers))]  # type: ignore[has-type]  # of both
        for place, remaining_name, remaining_form, reset_name, reset_form in told:
            result += (
                (remaining_name, remaining_form % numbers[place]),
                (reset_name, reset_form % numbers[place + 1]),
            )
        return result if _NAMES.isdisjoint(beside) else [field for field in result if field[0] not in beside]


@lru_cache  # the keys of a plan share them
def _templates(limits: tuple[Limit, ...]) -> tuple[Template[str], Template[bytes]]:
    """Write what never changes of the fields for some limits."""
    constant = [("ratelimit-policy", ", ".join(map(_item, limits)))] if limits else []
    told: list[tuple[int, str, str, str, str]] = []
    for unit, name in _TOLD.items():
        places = [place for place, limit in enumerate(limits) if limit.unit == unit and not limit.is_scoped]
        if places:
            place = next((place for place in places if limits[place].window_s), places[0])
            constant.append((f"x-ratelimit-limit-{name}", str(limits[place].amount)))
            told.append((2 * place, f"x-ratelimit-remaining-{name}", "%d", f"x-ratelimit-reset-{name}", "%ds"))
    form = ", ".join('"{}";r=%d;t=%d'.format(_name(limit).replace("%", "%%")) for limit in limits)
    return (constant, "ratelimit", form, told), (
        [(name.encode(), value.encode()) for name, value in constant],
        b"ratelimit",
        form.encode(),
        [(place, one.encode(), two.encode(), three.encode(), four.encode()) for place, one, two, three, four in told],
    )


def _item(limit: Limit) -> str:
    amount = min(limit.amount // _CENT if limit.unit == "nanousd" else limit.amount, _MOST)
    unit = f';qu="{_QUOTA_UNITS[limit.unit]}"' if limit.unit in _QUOTA_UNITS else ""
    seconds = limit.window_s or _PERIOD_S.get(limit.period or "")
    window = f";w={seconds}" if seconds else ""
    return f'"{_name(limit)}";q={amount}{unit}{window}'


def _name(limit: Limit) -> str:
    return "".join(char if char.isascii() and char.isprintable() and char not in '"\\' else "?" for char in limit.name)
