"""Read a plan's limits from a request body or a command line, and refuse those that make no sense."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, replace
from typing import Any, get_args

from keygauge.limits.estimate import TOKENS_MAX
from keygauge_keyservice.durations import parse_duration
from keygauge_keyservice.errors import FieldError, invalid
from keygauge_keyservice.fields import INTEGER_MAX, Fields
from keygauge_keyservice.limits.definitions import Limit, Period, Subject, Unit, WhenDown, WhenUnpriced
from keygauge_keyservice.money import parse_integer, parse_usd

LIMITS_MAX = 20  # per plan: each is reserved on every request
WINDOW_S_MAX = 86_400
SCOPE_LENGTH_MAX = 200
SMOOTH_PER_S_MAX = 50_000  # a pace is in whole microseconds: rounding takes 5 % of this
CREDIT = "credit"  # a unit for people: nano-USD by so many
UNITS = (*get_args(Unit), CREDIT)


def read_limits(fields: Fields) -> list[Limit]:
    """Read the list `limits`; errors are left in `fields`."""
    limits = fields.each("limits", _read_limit, most=LIMITS_MAX)
    for name, count in Counter(limit.name for limit in limits if isinstance(limit.name, str)).items():  # else it failed
        if count > 1:
            fields.fail("limits", "same_name", f"{count} limits are named {name!r}: names differ")
    return limits


def parse_limit(text: str) -> Limit:
    """Read `NAME=AMOUNT:UNIT[:WINDOW[:SUBJECT]][,OPTION…]`, where a window is `60s`, `1h`, `day` or `month`.

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
    fields = Fields(document)
    limit = _read_limit(fields)
    fields.check()
    return limit


def limit_document(limit: Limit) -> dict[str, Any]:
    """Write a limit as it is read, in credits where it is told in those."""
    hidden = ("id", "by_operator") + (() if limit.unit == "nanousd" else ("when_unpriced", "credit_nanousd"))
    document = {name: value for name, value in asdict(limit).items() if name not in hidden}
    if limit.credit_nanousd:
        document |= {"unit": CREDIT, "amount": limit.amount // limit.credit_nanousd}
    return document


def _read_limit(fields: Fields) -> Limit:
    return _in_nanousd(fields, _check(fields, _read_terms(fields)))


def read_key_limits(fields: Fields) -> list[Limit]:
    """Read the list `limits` of a single key; errors are left in `fields`."""
    return [replace(limit, subject="key") for limit in read_limits(fields)]


def _read_terms(fields: Fields) -> Limit:
    return Limit(
        name=fields.slug("name"),
        unit=fields.choice("unit", UNITS),
        amount=fields.integer("amount", least=0),
        window_s=fields.integer("window_s", least=1, most=WINDOW_S_MAX, nullable=True),
        period=fields.choice("period", get_args(Period), nullable=True),
        subject=fields.choice("subject", get_args(Subject), default="account"),
        when_down=fields.choice("when_down", get_args(WhenDown), default="closed"),
        dry_run=fields.flag("dry_run", default=False),
        smooth=fields.flag("smooth", default=False),
        route=fields.text("route", length_max=SCOPE_LENGTH_MAX),
        model=fields.text("model", length_max=SCOPE_LENGTH_MAX),
        output_default=fields.integer("output_default", least=1, most=TOKENS_MAX, nullable=True),
        when_unpriced=fields.choice("when_unpriced", get_args(WhenUnpriced), default="admit"),
        credit_nanousd=fields.integer("credit_nanousd", least=1, nullable=True),
    )


def _check(fields: Fields, limit: Limit) -> Limit:
    is_money = limit.unit in ("nanousd", CREDIT)  # no set: what was read may be a list
    if limit.output_default is not None and not (is_money or limit.unit == "token"):
        fields.fail("output_default", "wrong_unit", "only applies to token and cost limits")
    if limit.when_unpriced == "refuse" and not is_money:
        fields.fail("when_unpriced", "wrong_unit", "only applies to cost limits")
    if (limit.credit_nanousd is not None) != (limit.unit == CREDIT):
        fields.fail("credit_nanousd", "wrong_unit", "is required for limits in credits, and only applies to them")
    given = (limit.window_s is not None) + (limit.period is not None)
    if limit.unit == "concurrent" and given:
        fields.fail("unit", "wrong_window", "a concurrency limit cannot have window_s or period")
    if limit.unit == "concurrent" and limit.when_down != "closed":
        fields.fail("when_down", "wrong_unit", "a concurrency limit must be closed")
    if limit.smooth and limit.window_s is None:
        fields.fail("smooth", "wrong_window", "only applies to rate limits, which have a window_s")
    if limit.smooth and limit.unit != "request":
        fields.fail("smooth", "wrong_unit", "only applies to request limits")
    numbers = isinstance(limit.amount, int) and isinstance(limit.window_s, int)  # what was read may be anything
    if limit.smooth and numbers and limit.amount > SMOOTH_PER_S_MAX * (limit.window_s or 0) > 0:
        fields.fail("smooth", "wrong_number", f"allows at most {SMOOTH_PER_S_MAX:,} requests per second")
    if limit.unit != "concurrent" and given != 1:
        fields.fail("window_s", "wrong_window", "set either window_s or period")
    return limit


def _in_nanousd(fields: Fields, limit: Limit) -> Limit:
    """Turn credits into what is counted."""
    if limit.unit != CREDIT or fields.errors:
        return limit
    amount = limit.amount * (limit.credit_nanousd or 0)
    if amount > INTEGER_MAX:
        fields.fail("amount", "wrong_number", f"is too large: the total can be at most {INTEGER_MAX} nano-USD")
    return replace(limit, unit="nanousd", amount=amount)


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
