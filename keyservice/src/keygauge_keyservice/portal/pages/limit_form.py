"""The form of a key's own limits: a row each; one whose amount is emptied is taken away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from functools import cache
from itertools import count
from typing import Any

from keygauge_keyservice.errors import FieldError
from keygauge_keyservice.limits.definitions import Limit
from keygauge_keyservice.limits.limit_terms import CREDIT, LIMITS_MAX, WITH_OUTPUT, LimitTerms
from keygauge_keyservice.money import parse_integer, parse_usd
from keygauge_keyservice.reading import attempt

_UNITS = {
    "request": "requests",
    "token": "tokens",
    "input_token": "input tokens",
    "output_token": "output tokens",
    "nanousd": "US dollars",
    "concurrent": "concurrent requests",
}
_PERS = {
    "1": "second",
    "60": "minute",
    "3600": "hour",
    "86400": "24 hours",
    "hour": "clock hour (UTC)",
    "day": "day (UTC)",
    "week": "week (UTC)",
    "month": "month (UTC)",
    "quarter": "quarter (UTC)",
    "year": "year (UTC)",
}
_KEPT = ("when_down", "dry_run", "output_default", "smooth")  # what the form does not show


@dataclass(frozen=True)
class Row:
    """A limit as the form has it."""

    name: str = ""  # empty: a new one
    amount: str = ""
    unit: str = "request"
    per: str = "60"
    model: str = ""
    route: str = ""


SPARE_ROWS = (Row(), Row())


def read(form: Mapping[str, str], old: Sequence[Limit]) -> tuple[list[Row], dict[str, Any]]:
    """Return the rows that were sent, and their limits as the API would get them."""
    rows = [row for row in _given(form) if row.amount]
    return rows, {"limits": _documents(rows, {limit.name: limit for limit in old})}


def told(errors: Sequence[FieldError]) -> list[str]:
    """Write what is wrong with the limits."""
    return [f"{error.field.removeprefix('limits')}: {error.detail}" for error in errors]


def rows_of(limits: Sequence[Limit]) -> list[Row]:
    """Write limits as rows."""
    return [_row(limit) for limit in limits]


@cache
def units() -> dict[str, str]:
    """Return the units that are enforced."""
    return {unit: name for unit, name in _UNITS.items() if _is_enforced(unit)}


def pers(row: Row) -> dict[str, str]:
    """Return the windows and periods to choose from, a row's own odd one too."""
    return _PERS if row.per in _PERS or not row.per else {row.per: f"{row.per} seconds", **_PERS}


def _given(form: Mapping[str, str]) -> Iterator[Row]:
    for number in range(LIMITS_MAX + len(SPARE_ROWS)):
        fields = {name: form.get(f"{name}-{number}", "").strip() for name in Row.__dataclass_fields__}
        yield Row(**fields)


def _documents(rows: Sequence[Row], old: Mapping[str, Limit]) -> list[dict[str, Any]]:
    """Write rows as the API would get them."""
    taken = {row.name for row in rows}
    documents = []
    for row in rows:
        name = row.name if row.name in old else _new_name(row, taken)
        taken.add(name)
        document: dict[str, Any] = {"name": name, "unit": row.unit, "amount": _amount(row)}
        if row.unit != "concurrent":
            per = parse_integer(row.per)
            document |= {"window_s": per} if isinstance(per, int) else {"period": per}
        document |= {scope: text for scope, text in (("model", row.model), ("route", row.route)) if text}
        if name in old:
            kept = {field: value for field, value in asdict(old[name]).items() if field in _KEPT and value is not None}
            document |= kept if row.unit in WITH_OUTPUT else {**kept, "output_default": None}
            document["smooth"] = old[name].smooth and "window_s" in document and row.unit == "request"
            document |= _of_money(document, old[name]) if row.unit == "nanousd" else {}
        documents.append(document)
    return documents


def _of_money(document: Mapping[str, Any], before: Limit) -> dict[str, Any]:
    """Return what a limit of cost keeps; one told in credits is in dollars once it is no whole number of them."""
    kept: dict[str, Any] = {"when_unpriced": before.when_unpriced}
    worth, amount = before.credit_nanousd, document["amount"]
    if worth and isinstance(amount, int) and amount % worth == 0:
        kept |= {"unit": CREDIT, "amount": amount // worth, "credit_nanousd": worth}
    return kept


def _new_name(row: Row, taken: set[str]) -> str:
    """Name a limit for header fields and metrics: key_requests_per_minute."""
    unit = "cost" if row.unit == "nanousd" else f"{row.unit}s"
    name = f"key_{unit}_per_{_PERS.get(row.per, 'time').partition(' (')[0].replace(' ', '_')}"
    return next(one for number in count(1) if (one := name if number == 1 else f"{name}_{number}") not in taken)


def _amount(row: Row) -> int | str:
    return parse_usd(row.amount) if row.unit == "nanousd" else parse_integer(row.amount)


def _row(limit: Limit) -> Row:
    amount = f"{Decimal(limit.amount).scaleb(-9).normalize():f}" if limit.unit == "nanousd" else str(limit.amount)
    per = str(limit.window_s or limit.period or "")
    return Row(limit.name, amount, limit.unit, per, limit.model or "", limit.route or "")


def _is_enforced(unit: str) -> bool:
    per = {} if unit == "concurrent" else {"period": "day"}
    return attempt(LimitTerms, {"name": "any", "unit": unit, "amount": 1, **per})[0] is not None
