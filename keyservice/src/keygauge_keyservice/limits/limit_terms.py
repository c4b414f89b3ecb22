"""Limits as requests, forms and command lines give them; those that make no sense are refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct, structs

from keygauge.limits.estimate import TOKENS_MAX
from keygauge_keyservice.durations import parse_duration
from keygauge_keyservice.errors import FieldError, invalid
from keygauge_keyservice.field_types import Slug
from keygauge_keyservice.limits.definitions import Limit, Period, Subject, Unit, WhenDown, WhenUnpriced
from keygauge_keyservice.money import parse_integer, parse_usd
from keygauge_keyservice.reading import INTEGER_MAX, read

LIMITS_MAX = 20  # per plan: each is reserved on every request
WINDOW_S_MAX = 86_400
SMOOTH_PER_S_MAX = 50_000  # a pace is in whole microseconds: rounding takes 5 % of this
CREDIT = "credit"  # a unit for people: nano-USD by so many
SCOPE_LENGTH_MAX = 200
_MONEY = ("nanousd", CREDIT)
WITH_OUTPUT = ("token", "output_token", *_MONEY)  # units that an output which is not declared is reserved of

_Scope: TypeAlias = Annotated[str, Meta(max_length=SCOPE_LENGTH_MAX)]


class LimitTerms(Struct):
    """A limit as people give it; one of cost may be in credits."""

    name: Slug
    unit: Literal[Unit, "credit"]
    amount: Annotated[int, Meta(ge=0)]
    window_s: Annotated[int, Meta(ge=1, le=WINDOW_S_MAX)] | None = None
    period: Period | None = None
    subject: Subject = "account"
    when_down: WhenDown = "closed"
    dry_run: bool = False
    smooth: bool = False
    route: _Scope | None = None
    model: _Scope | None = None
    output_default: Annotated[int, Meta(ge=1, le=TOKENS_MAX)] | None = None
    when_unpriced: WhenUnpriced = "admit"
    credit_nanousd: Annotated[int, Meta(ge=1, description="of the unit credit: its worth")] | None = None

    @classmethod
    def of(cls, limit: Limit) -> LimitTerms:
        """Write a limit as it is given, in credits where it is told in those."""
        terms = cls(**{name: value for name, value in asdict(limit).items() if name in cls.__struct_fields__})
        if limit.credit_nanousd:
            return structs.replace(terms, unit=CREDIT, amount=limit.amount // limit.credit_nanousd)
        return terms

    def limit(self) -> Limit:
        """Return what is counted: credits are nano-USD."""
        if self.unit != CREDIT:
            return Limit(**structs.asdict(self))
        return Limit(**structs.asdict(self) | {"unit": "nanousd", "amount": self.amount * (self.credit_nanousd or 0)})

    def faults(self) -> Iterator[FieldError]:
        """Say which fields do not fit each other."""
        yield from self._faults_of_unit()
        yield from self._faults_of_time()
        if self.unit == CREDIT and self.amount * (self.credit_nanousd or 0) > INTEGER_MAX:
            detail = f"is too large: the total can be at most {INTEGER_MAX} nano-USD"
            yield FieldError("amount", "wrong_number", detail)

    def _faults_of_unit(self) -> Iterator[FieldError]:
        if self.output_default is not None and self.unit not in WITH_OUTPUT:
            yield FieldError("output_default", "wrong_unit", "only applies to limits of tokens, output tokens and cost")
        if self.when_unpriced == "refuse" and self.unit not in _MONEY:
            yield FieldError("when_unpriced", "wrong_unit", "only applies to cost limits")
        if (self.credit_nanousd is not None) != (self.unit == CREDIT):
            detail = "is required for limits in credits, and only applies to them"
            yield FieldError("credit_nanousd", "wrong_unit", detail)
        if self.unit == "concurrent" and self.when_down != "closed":
            yield FieldError("when_down", "wrong_unit", "a concurrency limit must be closed")
        if self.smooth and self.unit != "request":
            yield FieldError("smooth", "wrong_unit", "only applies to request limits")

    def _faults_of_time(self) -> Iterator[FieldError]:
        given = (self.window_s is not None) + (self.period is not None)
        if self.unit == "concurrent" and given:
            yield FieldError("unit", "wrong_window", "a concurrency limit cannot have window_s or period")
        if self.unit != "concurrent" and given != 1:
            yield FieldError("window_s", "wrong_window", "set either window_s or period")
        if self.smooth and self.window_s is None:
            yield FieldError("smooth", "wrong_window", "only applies to rate limits, which have a window_s")
        if self.smooth and self.window_s is not None and self.amount > SMOOTH_PER_S_MAX * self.window_s:
            yield FieldError("smooth", "wrong_number", f"allows at most {SMOOTH_PER_S_MAX:,} requests per second")


Limits: TypeAlias = Annotated[list[LimitTerms], Meta(max_length=LIMITS_MAX)]


def same_names(limits: Iterable[LimitTerms]) -> Iterator[FieldError]:
    """Say which names are given twice."""
    for name, count in Counter(limit.name for limit in limits).items():
        if count > 1:
            yield FieldError("limits", "same_name", f"{count} limits are named {name!r}: names differ")


def of_key(limits: Iterable[LimitTerms]) -> list[Limit]:
    """Return limits as those of a single key."""
    return [structs.replace(limit, subject="key").limit() for limit in limits]


class LimitList(Struct):
    """All limits of a plan, or a key's own."""

    limits: Limits

    def faults(self) -> Iterator[FieldError]:
        """Say which names are given twice."""
        return same_names(self.limits)

    def of_plan(self) -> list[Limit]:
        """Return the limits of a plan."""
        return [limit.limit() for limit in self.limits]

    def of_key(self) -> list[Limit]:
        """Return the limits of a single key."""
        return of_key(self.limits)


def parse_limit(text: str) -> Limit:
    """Read `NAME=AMOUNT:UNIT[:WINDOW[:SUBJECT]][,OPTION…]`, where a window is `60s`, `1h`, or a period such as `month`.

    Money is `usd`, as in `$25.50:usd:month`, or `credit@USD` for credits of so many dollars each. Options are
    `smooth`, `dry_run`, `safe`, `route=/v1/chat`, `model=gpt-4o`, `output_default=500` and `when_unpriced=refuse`.

    Raises:
        Problem: 422, with what is wrong.
    """
    name, _, terms = text.partition("=")
    terms, *options = terms.split(",")
    amount, unit, window, subject, *others = [*terms.split(":"), "", "", ""]
    if any(others):
        raise invalid(FieldError("limit", "wrong_limit", f"has too much after the subject: {others[0]!r}"))
    document: dict[str, object] = {"name": name, "amount": parse_integer(amount), "unit": unit}
    if unit == "usd":
        document |= {"unit": "nanousd", "amount": _nanousd(amount, "amount")}
    elif unit.startswith(f"{CREDIT}@"):
        document |= {"unit": CREDIT, "credit_nanousd": _nanousd(unit.removeprefix(f"{CREDIT}@"), CREDIT)}
    if window and window[0].isdigit():
        window_s = parse_duration(window)
        document["window_s"] = window if window_s is None else window_s
    elif window:
        document["period"] = window
    if subject:
        document["subject"] = subject
    document |= dict(map(_option, options))
    return read(LimitTerms, document).limit()


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
    return amount
