"""Header fields that report a caller's limits: the IETF draft's `RateLimit` and OpenAI's `x-ratelimit-*`."""

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
"""OpenAI's fields with numbers that change: the index of each number, the field's name and its format."""

# Of a template: the constant fields; the name and format of `ratelimit`; OpenAI's fields of single limits; per unit the
# options to choose from if several limits apply: the one with the least left is sent; and the separator and formats of
# each limit in `ratelimit`. An option has the index of that number, the constant field, and the others.
Option = tuple[int, tuple[AnyStr, AnyStr], Numbered[AnyStr]]
Choices = list[list[Option[AnyStr]]]
Template = tuple[
    list[tuple[AnyStr, AnyStr]], AnyStr, AnyStr, Numbered[AnyStr], Choices[AnyStr], tuple[AnyStr, list[AnyStr]]
]

_TOKENS = {"token": "tokens", "input_token": "input-tokens", "output_token": "output-tokens"}
_TOLD = {"request": "requests", **_TOKENS}  # the units that OpenAI's fields report
_OPENAI = [f"x-ratelimit-{word}-{name}" for word in ("limit", "remaining", "reset") for name in _TOLD.values()]
_TEXT_NAMES = ("ratelimit", "ratelimit-policy", *_OPENAI)
_NAMES = frozenset((*_TEXT_NAMES, *map(str.encode, _TEXT_NAMES)))
_CENT = 10_000_000  # nano-USD
_MOST = 10**15 - 1  # the largest integer of a structured field (RFC 9651)
_UP = SECOND - 1
_QUOTA_UNITS = {**_TOKENS, "nanousd": "us-cents", "concurrent": "concurrent-requests"}  # default: requests
_DAY_S = 86_400
_PERIOD_S = {  # the field has no calendar periods
    "hour": 3_600,
    "day": _DAY_S,
    "week": 7 * _DAY_S,
    "month": 30 * _DAY_S,
    "quarter": 90 * _DAY_S,
    "year": 365 * _DAY_S,
}


class Policy:
    """One key's limits as header fields (draft-ietf-httpapi-ratelimit-headers), prepared as far as possible.

    As bytes for ASGI and text for WSGI: converting takes as long as formatting. What is left of a limit is not known,
    and not sent, before a call that it counts arrives at this process.
    """

    __slots__ = ("_is_known", "_lease_pools", "as_bytes", "as_text")

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
        self._is_known = all(lease_pool.replicas for lease_pool, *_ in self._lease_pools)  # what is left of each
        self.as_text, self.as_bytes = templates or _templates(tuple(replace(pools.limit, id="") for pools in limited))

    def of(self, lease_pools: Sequence[LeasePool]) -> Policy:
        """Return the same fields for the lease pools of one call, if limits have a counter per tag."""
        return Policy(lease_pools, (self.as_text, self.as_bytes))

    def fields(
        self,
        template: Template[AnyStr],
        now_ns: int,
        beside: Collection[AnyStr] = (),
    ) -> list[tuple[AnyStr, AnyStr]]:
        """Format the fields of `as_bytes` or `as_text`, except those in `beside`, which the answer already has."""
        constant, name, form, numbered, choices, _ = template
        if not constant:
            return []
        numbers: list[int] = []
        for lease_pool, unit, resets in self._lease_pools:
            remaining = lease_pool.remaining(now_ns) // unit
            # min() and max() are slower
            numbers.append(remaining if remaining < _MOST else _MOST)  # noqa: FURB136
            if resets:
                reset_s = (lease_pool.reset_ns - now_ns + _UP) // SECOND
                numbers.append(reset_s if reset_s > 0 else 0)  # noqa: FURB136
        result: list[tuple[AnyStr, AnyStr]] = [*constant]  # type: ignore[has-type]  # AnyStr
        if self._is_known:
            result.append((name, form % tuple(numbers)))
        else:
            told, numbered, choices = self._known(template, numbers)
            result += told
        for place, number_name, number_form in numbered:
            result.append((number_name, number_form % numbers[place]))
        for options in choices:
            first = options[0]
            for option in options:  # min() is slower
                if numbers[option[0]] < numbers[first[0]]:
                    first = option
            result.append(first[1])
            for place, number_name, number_form in first[2]:
                result.append((number_name, number_form % numbers[place]))
        return result if _NAMES.isdisjoint(beside) else [field for field in result if field[0] not in beside]

    def _known(
        self, template: Template[AnyStr], numbers: Sequence[int]
    ) -> tuple[list[tuple[AnyStr, AnyStr]], Numbered[AnyStr], Choices[AnyStr]]:
        """Return `ratelimit`, and OpenAI's fields that change, without the limits of which nothing is known yet."""
        _, name, _, numbered, choices, (comma, items) = template
        told: list[AnyStr] = []
        known: set[int] = set()
        place = 0
        for (lease_pool, _, resets), item in zip(self._lease_pools, items, strict=True):
            places = range(place, place := place + 1 + resets)
            if lease_pool.replicas:
                told.append(item % tuple(numbers[number] for number in places))
                known.update(places)
        self._is_known = len(known) == len(numbers)
        return (
            [(name, comma.join(told))] if told else [],
            [one for one in numbered if one[0] in known],
            [left for options in choices if (left := [option for option in options if option[0] in known])],
        )


@lru_cache  # shared by the keys of a plan
def _templates(limits: tuple[Limit, ...]) -> tuple[Template[str], Template[bytes]]:
    """Build the templates of the fields for some limits."""
    constant = [("ratelimit-policy", ", ".join(map(_item, limits)))] if limits else []
    numbered: Numbered[str] = []
    choices: list[list[Option[str]]] = []
    numbers = [0, *accumulate(1 + limit.resets for limit in limits)]  # the index of each limit's first number
    for unit, name in _TOLD.items():
        places = [place for place, limit in enumerate(limits) if limit.unit == unit and not limit.is_scoped]
        places.sort(key=lambda place: not limits[place].window_s)  # rates first
        options = [_option(limits[place], name, numbers[place]) for place in places]
        if len(options) > 1:
            choices.append(options)
        elif options:
            _, amount, fields = options[0]
            constant.append(amount)
            numbered += fields
    items = ['"{}";r=%d{}'.format(_name(limit).replace("%", "%%"), ";t=%d" if limit.resets else "") for limit in limits]
    form = ", ".join(items)
    return (constant, "ratelimit", form, numbered, choices, (", ", items)), (
        [(name.encode(), value.encode()) for name, value in constant],
        b"ratelimit",
        form.encode(),
        _encoded(numbered),
        [
            [(place, (name.encode(), amount.encode()), _encoded(fields)) for place, (name, amount), fields in options]
            for options in choices
        ],
        (b", ", [item.encode() for item in items]),
    )


def _option(limit: Limit, name: str, place: int) -> Option[str]:
    """Build the fields of a limit whose first number has the index `place`."""
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
