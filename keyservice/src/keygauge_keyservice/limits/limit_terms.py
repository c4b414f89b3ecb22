"""Validation and parsing of limits from requests, forms and command lines."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import date
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct, structs

from keygauge.limits.reading.estimate import TOKENS_MAX
from keygauge.weights import Weights
from keygauge_keyservice.errors import FieldError, invalid
from keygauge_keyservice.limits.definitions import Limit, Subject, Unit, WhenDown, WhenUnpriced
from keygauge_keyservice.limits.periods import ANCHORED, ZONED, Period
from keygauge_keyservice.reading import INTEGER_MAX, read
from keygauge_keyservice.texts import gettext, mark
from keygauge_keyservice.values import time_zone
from keygauge_keyservice.values.durations import parse_duration
from keygauge_keyservice.values.field_types import Slug, checked, matching
from keygauge_keyservice.values.money import parse_integer, parse_usd

LIMITS_MAX = 20  # per plan: every request reserves each of them
WINDOW_S_MAX = 86_400
SMOOTH_PER_S_MAX = 50_000  # the pace is in whole microseconds: rounding costs 5 % at this rate
WEIGHTED = "weighted"
CREDIT = "credit"  # a display unit, worth a number of nano-USD
SCOPE_LENGTH_MAX = 200
_weighted = re.compile(r"([^()]*)\(([^()]*)\)").fullmatch
_OF_WEIGHTED = mark("is required for limits of weighted units, and only applies to them")
_MONEY = ("nanousd", CREDIT)
_PARTS_MAX = 4  # on the command line: amount, unit, window, subject
_OPTIONS = frozenset(
    (
        *("per_tag", "smooth", "dry_run", "when_down", "route", "model", "tool", "output_default", "when_unpriced"),
        *("anchor", "zone"),
    )
)
WITH_OUTPUT = ("token", "output_token", WEIGHTED, *_MONEY)  # units that reserve undeclared output

_IS_SCOPE = checked(
    matching(bool), "wrong_text", mark("must have 1 to %(most)s printable characters"), most=SCOPE_LENGTH_MAX
)
_Scope: TypeAlias = Annotated[str, Meta(min_length=1, max_length=SCOPE_LENGTH_MAX, extra=_IS_SCOPE)]


class LimitTerms(Struct):
    """A limit as given by users; cost limits may be in credits."""

    name: Slug
    unit: Literal[Unit, "credit"]
    amount: Annotated[int, Meta(ge=0)]
    window_s: Annotated[int, Meta(ge=1, le=WINDOW_S_MAX)] | None = None
    period: Period | None = None
    anchor: Annotated[date, Meta(description="a day on which a period begins")] | None = None
    zone: Annotated[str, Meta(description="an IANA name: periods begin with its days; else UTC's")] | None = None
    subject: Subject = "account"
    when_down: WhenDown = "closed"
    dry_run: bool = False
    smooth: bool = False
    per_tag: Annotated[bool, Meta(description="counts each tag of calls apart: each end user has the whole amount")] = (
        False
    )
    route: _Scope | None = None
    model: _Scope | None = None
    tool: (
        Annotated[_Scope, Meta(description="counts calls of this tool by JSON-RPC only, as MCP makes them")] | None
    ) = None
    output_default: Annotated[int, Meta(ge=1, le=TOKENS_MAX)] | None = None
    when_unpriced: WhenUnpriced = "admit"
    credit_nanousd: Annotated[int, Meta(ge=1, description="of the unit credit: its worth")] | None = None
    weights: Annotated[Weights, Meta(description="of a weighted unit: what calls are worth")] | None = None
    unit_name: Annotated[Slug, Meta(description="of a weighted unit")] | None = None

    @classmethod
    def of(cls, limit: Limit) -> LimitTerms:
        """Return the terms of a limit, in credits if it was given in credits."""
        terms = cls(**{name: value for name, value in asdict(limit).items() if name in cls.__struct_fields__})
        if limit.credit_nanousd:
            return structs.replace(terms, unit=CREDIT, amount=limit.amount // limit.credit_nanousd)
        return terms

    def limit(self) -> Limit:
        """Return the limit to count, with credits converted to nano-USD."""
        terms = structs.asdict(self) | {"zone": None if self.zone == "UTC" else self.zone}
        if self.unit == CREDIT:
            terms |= {"unit": "nanousd", "amount": self.amount * (self.credit_nanousd or 0)}
        return Limit(**terms)

    def faults(self) -> Iterator[FieldError]:
        """Yield errors for fields that contradict each other."""
        yield from self._faults_of_unit()
        yield from self._faults_of_time()
        if self.unit == CREDIT and self.amount * (self.credit_nanousd or 0) > INTEGER_MAX:
            detail = gettext("is too large: the total can be at most %(most)s nano-USD", most=INTEGER_MAX)
            yield FieldError("amount", "wrong_number", detail)

    def _faults_of_unit(self) -> Iterator[FieldError]:
        if self.output_default is not None and self.unit not in WITH_OUTPUT:
            detail = gettext("only applies to limits of tokens, output, weighted units and cost")
            yield FieldError("output_default", "wrong_unit", detail)
        if self.when_unpriced == "refuse" and self.unit not in _MONEY:
            yield FieldError("when_unpriced", "wrong_unit", gettext("only applies to cost limits"))
        if (self.credit_nanousd is not None) != (self.unit == CREDIT):
            detail = gettext("is required for limits in credits, and only applies to them")
            yield FieldError("credit_nanousd", "wrong_unit", detail)
        if (self.weights is not None) != (self.unit == WEIGHTED):
            yield FieldError("weights", "wrong_unit", gettext(_OF_WEIGHTED))
        elif self.weights is not None and not self.weights:
            yield FieldError("weights", "wrong_number", gettext("needs at least one weight above 0"))
        if (self.unit_name is not None) != (self.unit == WEIGHTED):
            yield FieldError("unit_name", "wrong_unit", gettext(_OF_WEIGHTED))
        if self.unit == "concurrent" and self.when_down != "closed":
            yield FieldError("when_down", "wrong_unit", gettext("must be closed for a concurrency limit"))
        if self.smooth and self.unit != "request":
            yield FieldError("smooth", "wrong_unit", gettext("only applies to request limits"))

    def _faults_of_time(self) -> Iterator[FieldError]:
        if self.anchor is not None and self.period not in ANCHORED:
            yield FieldError(
                "anchor",
                "wrong_period",
                gettext("only applies to the periods %(periods)s", periods=", ".join(ANCHORED)),
            )
        if self.zone is not None and self.period not in ZONED:
            yield FieldError(
                "zone", "wrong_period", gettext("only applies to the periods %(periods)s", periods=", ".join(ZONED))
            )
        if self.zone is not None and time_zone.find(self.zone) is None:
            yield FieldError("zone", "wrong_zone", gettext("must be an IANA time zone such as Europe/Berlin"))
        given = (self.window_s is not None) + (self.period is not None)
        if self.unit == "concurrent" and given:
            yield FieldError("unit", "wrong_window", gettext("a concurrency limit cannot have window_s or period"))
        if self.unit != "concurrent" and given != 1:
            yield FieldError("window_s", "wrong_window", gettext("set either window_s or period"))
        if self.smooth and self.window_s is None:
            yield FieldError("smooth", "wrong_window", gettext("only applies to rate limits, which have a window_s"))
        if self.smooth and self.window_s is not None and self.amount > SMOOTH_PER_S_MAX * self.window_s:
            yield FieldError(
                "smooth",
                "wrong_number",
                gettext("allows at most %(most)s requests per second", most=format(SMOOTH_PER_S_MAX, ",")),
            )


Limits: TypeAlias = Annotated[list[LimitTerms], Meta(max_length=LIMITS_MAX)]


def same_names(limits: Iterable[LimitTerms]) -> Iterator[FieldError]:
    """Yield errors for names that are used more than once."""
    for name, count in Counter(limit.name for limit in limits).items():
        if count > 1:
            yield FieldError(
                "limits",
                "same_name",
                gettext("%(number)s limits are named %(name)s; use different names", number=count, name=repr(name)),
            )


def of_key(limits: Iterable[LimitTerms]) -> list[Limit]:
    """Return the limits for a single key."""
    return [structs.replace(limit, subject="key").limit() for limit in limits]


class LimitList(Struct):
    """All limits of a plan, or all own limits of a key."""

    limits: Limits

    def faults(self) -> Iterator[FieldError]:
        """Yield errors for names that are used more than once."""
        return same_names(self.limits)

    def of_plan(self) -> list[Limit]:
        """Return the limits for a plan."""
        return [limit.limit() for limit in self.limits]

    def of_key(self) -> list[Limit]:
        """Return the limits for a single key."""
        return of_key(self.limits)


def parse_limit(text: str) -> Limit:
    """Parse `NAME=AMOUNT:UNIT[:WINDOW[:SUBJECT]][,OPTION…]`; a window is `60s`, `1h`, or a period such as `month`.

    Cost limits have the unit `usd`, as in `$25.50:usd:month`, or `credit@USD` for credits worth that many dollars. A
    weighted unit has a name and weights, as in `credits(input+4*output+10*request)`. Options are `per_tag`, `smooth`,
    `dry_run`, `safe`, `route=/v1/chat`, `model=gpt-4o`, `tool=search`, `output_default=500` and `when_unpriced=refuse`;
    for periods also `anchor=2026-01-15`, a day on which one begins, and `zone=Europe/Berlin`.

    Raises:
        Problem: 422, with the error.
    """
    name, _, terms = text.partition("=")
    terms, *options = terms.split(",")
    if text and (error := _split_fault(terms, options)) is not None:
        raise invalid(error)
    amount, unit, window, subject, *others = [*(parts := terms.split(":")), "", "", ""]
    if len(parts) > _PARTS_MAX:
        raise invalid(FieldError("limit", "wrong_limit", f"has too much after the subject: {others[0]!r}"))
    document: dict[str, object] = {"name": name, "amount": parse_integer(amount), "unit": unit}
    if unit == "usd":
        document |= {"unit": "nanousd", "amount": _nanousd(amount, "amount")}
    elif unit.startswith(f"{CREDIT}@"):
        document |= {"unit": CREDIT, "credit_nanousd": _nanousd(unit.removeprefix(f"{CREDIT}@"), CREDIT)}
    elif (weighted := _weighted(unit)) is not None:
        document |= {"unit": WEIGHTED, "unit_name": weighted[1], "weights": _weights(weighted[2])}
    if window and window[0].isdigit():
        window_s = parse_duration(window)
        document["window_s"] = window if window_s is None else window_s
    elif window:
        document["period"] = window
    if subject:
        document["subject"] = subject
    return read(LimitTerms, document | _options(options)).limit()


def _split_fault(terms: str, options: Sequence[str]) -> FieldError | None:
    """Return the error of terms without an amount or unit, or with a comma in a number."""
    is_decimal = bool(options) and options[0][:1].isdigit()
    if not terms:
        return FieldError("amount", "wrong_limit", "is missing, as in rpm=600:request:1m")
    if ":" not in terms and is_decimal:
        return FieldError("amount", "wrong_number", "cannot contain a comma: write 25.50, or 1000 for a thousand")
    if ":" not in terms:
        return FieldError("unit", "wrong_limit", "is missing, as in 600:request:1m")
    if is_decimal and terms.rpartition(":")[2].startswith(f"{CREDIT}@"):
        return FieldError(CREDIT, "wrong_number", "cannot contain a comma: write 0.01")
    return None


def _weights(text: str) -> dict[str, object]:
    """Parse a sum such as `input+4*output`."""
    weights: dict[str, object] = {}
    for part in text.split("+"):
        weight, is_given, kind = part.strip().rpartition("*")
        if (kind := kind.strip()) in weights:
            raise invalid(FieldError("weights", "same_name", f"gives {kind!r} twice"))
        weights[kind] = parse_integer(weight.strip()) if is_given else 1
    return weights


def _options(texts: Iterable[str]) -> dict[str, object]:
    options: dict[str, object] = {}
    for option, value in map(_option, texts):
        if option not in _OPTIONS:
            raise invalid(FieldError(option, "unknown_field", "unknown option"))
        if option in options:
            raise invalid(FieldError(option, "same_name", "is given twice"))
        options[option] = value
    return options


def _option(text: str) -> tuple[str, object]:
    name, given, value = text.partition("=")
    if name == "safe" and not given:
        return "when_down", "safe"
    if not given:
        return name, True
    return name, parse_integer(value) if name == "output_default" else value


def _nanousd(text: str, field: str) -> int:
    amount = parse_usd(text)
    if isinstance(amount, str) or amount < 0:
        raise invalid(
            FieldError(
                field, "wrong_number", "must be an amount in US dollars with at most nine decimals, such as 25.50"
            )
        )
    if amount > INTEGER_MAX:
        raise invalid(FieldError(field, "wrong_number", f"can be at most {INTEGER_MAX // 10**9} US dollars"))
    return amount
