"""The header fields that tell a caller its limits: the IETF draft's `RateLimit` and OpenAI's `x-ratelimit-*`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import accumulate
from typing import AnyStr

from keygauge.clock import SECOND
from keygauge.limits.lease_pool import LeasePool
from keygauge.limits.limit import Limit
from keygauge.limits.tag_pools import TagPools

Fields = list[tuple[bytes, bytes]]

Numbered = list[tuple[int, AnyStr, AnyStr]]
"""Of OpenAI's fields that change the places of their numbers, their names and formats."""

# The fields that never change. Of `ratelimit` its name and format. OpenAI's fields of a limit each. By unit those of
# several limits, of which the one is told that has the least left: the place of that number, the field that never
# changes, and the others.
Option = tuple[int, tuple[AnyStr, AnyStr], Numbered[AnyStr]]
Template = tuple[list[tuple[AnyStr, AnyStr]], AnyStr, AnyStr, Numbered[AnyStr], list[list[Option[AnyStr]]]]

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

    def __init__(
        self,
        limited: Sequence[LeasePool | TagPools],
        templates: tuple[Template[str], Template[bytes]] | None = None,
    ) -> None:
        self._lease_pools = [
            (pools, _CENT if pools.limit.unit == "nanousd" else 1, pools.limit.resets)
            for pools in limited
            if isinstance(pools, LeasePool)
        ]
        self.as_text, self.as_bytes = templates or _templates(tuple(replace(pools.limit, id="") for pools in limited))

    def of(self, lease_pools: Sequence[LeasePool]) -> Policy:
        """Return the same fields of a call's own lease pools, where limits count each tag apart."""
        return Policy(lease_pools, (self.as_text, self.as_bytes))

    def fields(
        self,
        template: Template[AnyStr],
        now_ns: int,
        beside: Collection[AnyStr] = (),
    ) -> list[tuple[AnyStr, AnyStr]]:
        """Write the fields `as_bytes` or `as_text`; `beside` are the names of those that the answer has by itself."""
        constant, name, form, numbered, choices = template
        if not constant:
            return []
        numbers: list[int] = []
        for lease_pool, unit, resets in self._lease_pools:
            remaining = lease_pool.remaining(now_ns)
            if unit != 1:
                remaining //= unit
            # min() and max() take longer
            numbers.append(remaining if remaining < _MOST else _MOST)  # noqa: FURB136
            if resets:
                reset_s = (lease_pool.reset_ns - now_ns + _UP) // SECOND
                numbers.append(reset_s if reset_s > 0 else 0)  # noqa: FURB136
        result: list[tuple[AnyStr, AnyStr]] = [*constant, (name, form % tuple(numbers))]  # type: ignore[has-type]  # of both
        for place, number_name, number_form in numbered:
            result.append((number_name, number_form % numbers[place]))
        for options in choices:
            _, amount, fields = min(options, key=lambda option: numbers[option[0]])
            result.append(amount)
            result += [(field_name, field_form % numbers[place]) for place, field_name, field_form in fields]
        return result if _NAMES.isdisjoint(beside) else [field for field in result if field[0] not in beside]


@lru_cache  # the keys of a plan share them
def _templates(limits: tuple[Limit, ...]) -> tuple[Template[str], Template[bytes]]:
    """Write what never changes of the fields for some limits."""
    constant = [("ratelimit-policy", ", ".join(map(_item, limits)))] if limits else []
    numbered: Numbered[str] = []
    choices: list[list[Option[str]]] = []
    has_tags = any(limit.per_tag for limit in limits)
    numbers = [0, *accumulate(1 + limit.resets for limit in limits)]  # where those of each limit begin
    for unit, name in _TOLD.items():
        places = [place for place, limit in enumerate(limits) if limit.unit == unit and not limit.is_scoped]
        places.sort(key=lambda place: not limits[place].window_s)  # rates first
        options = [_option(limits[place], name, numbers[place]) for place in places]
        if has_tags and len(options) > 1:
            choices.append(options)
        elif options:
            _, amount, fields = options[0]
            constant.append(amount)
            numbered += fields
    form = ", ".join(
        '"{}";r=%d{}'.format(_name(limit).replace("%", "%%"), ";t=%d" if limit.resets else "") for limit in limits
    )
    return (constant, "ratelimit", form, numbered, choices), (
        [(name.encode(), value.encode()) for name, value in constant],
        b"ratelimit",
        form.encode(),
        _encoded(numbered),
        [
            [(place, (name.encode(), amount.encode()), _encoded(fields)) for place, (name, amount), fields in options]
            for options in choices
        ],
    )


def _option(limit: Limit, name: str, place: int) -> Option[str]:
    """Write the fields of a limit whose numbers begin at a place."""
    fields = [(place, f"x-ratelimit-remaining-{name}", "%d")]
    if limit.resets:
        fields.append((place + 1, f"x-ratelimit-reset-{name}", "%ds"))
    return place, (f"x-ratelimit-limit-{name}", str(limit.amount)), fields


def _encoded(fields: Numbered[str]) -> Numbered[bytes]:
    return [(place, name.encode(), form.encode()) for place, name, form in fields]


def _item(limit: Limit) -> str:
    amount = min(limit.amount // _CENT if limit.unit == "nanousd" else limit.amount, _MOST)
    name = limit.unit_name or _QUOTA_UNITS.get(limit.unit)
    unit = f';qu="{name}"' if name else ""
    seconds = limit.window_s or _PERIOD_S.get(limit.period or "")
    window = f";w={seconds}" if seconds else ""
    return f'"{_name(limit)}";q={amount}{unit}{window}'


def _name(limit: Limit) -> str:
    return "".join(char if char.isascii() and char.isprintable() and char not in '"\\' else "?" for char in limit.name)
