"""The form of a key's own limits: one row each; clearing the amount removes a limit."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from itertools import count
from typing import Any

from msgspec import to_builtins

from keygauge_keyservice.errors import FieldError
from keygauge_keyservice.limits.definitions import Limit
from keygauge_keyservice.limits.limit_terms import CREDIT, LIMITS_MAX, WEIGHTED, WITH_OUTPUT
from keygauge_keyservice.portal import limit_text, typed_number
from keygauge_keyservice.texts import each, mark
from keygauge_keyservice.values.money import parse_integer, parse_usd

_UNITS = {
    "request": mark("requests"),
    "token": mark("tokens"),
    "input_token": mark("input tokens"),
    "output_token": mark("output tokens"),
    "nanousd": mark("US dollars"),
    "concurrent": mark("concurrent requests"),
}
_PERS = {
    "1": mark("second"),
    "60": mark("minute"),
    "3600": mark("hour"),
    "86400": mark("24 hours"),
    "hour": mark("clock hour"),
    "day": mark("day"),
    "week": mark("week"),
    "month": mark("month"),
    "quarter": mark("quarter"),
    "year": mark("year"),
    "lifetime": mark("lifetime"),
}
_item = re.compile(r"limits\[(\d+)\]\.(\w+)").match
_TERMS = ("anchor", "zone", "model", "route", "tool")
_KEPT = ("when_down", "dry_run", "output_default", "smooth")  # kept, as the form does not show them


@dataclass(frozen=True)
class Row:
    """A limit as a row of the form."""

    name: str = ""  # empty for a new one
    amount: str = ""
    unit: str = "request"
    per: str = "60"
    anchor: str = ""
    zone: str = ""
    model: str = ""
    route: str = ""
    tool: str = ""
    unit_name: str = ""
    per_tag: str = ""  # "on" if checked


EMPTY_ROWS = (Row(), Row())


def read(form: Mapping[str, str], old: Sequence[Limit]) -> tuple[list[Row], dict[str, Any]]:
    """Return the submitted rows, and their limits in the API's format."""
    rows = [row for row in _given(form) if row.amount]
    return rows, {"limits": _documents(rows, {limit.name: limit for limit in old})}


def messages(errors: Sequence[FieldError], rows: Sequence[Row]) -> dict[str, str]:
    """Return error messages by form field, such as `amount-0`; of the list as a whole by `limits`."""
    found: dict[str, str] = {}
    for error in errors:
        if (item := _item(error.field)) is None:
            found["limits"] = error.detail
            continue
        number = int(item[1])
        field = "per" if item[2] in {"window_s", "period"} else item[2]
        is_money = (field, error.code, rows[number].unit) == ("amount", "wrong_number", "nanousd")
        detail = typed_number.wrong_usd() if is_money else error.detail
        found[f"{field if field in Row.__dataclass_fields__ else 'amount'}-{number}"] = detail
    return found


def rows_of(limits: Sequence[Limit]) -> list[Row]:
    """Return limits as rows."""
    return [_row(limit) for limit in limits]


def units(row: Row) -> dict[str, str]:
    """Return the selectable units, including a row's weighted one."""
    known = each(_UNITS)
    return known if row.unit in known else {row.unit: row.unit_name or row.unit, **known}


def pers(row: Row) -> dict[str, str]:
    """Return the selectable windows and periods, including a row's custom one."""
    known = each(_PERS)
    return (
        known
        if row.per in known or not row.per
        else {row.per: limit_text.window(int(row.per)) if row.per.isdecimal() else row.per, **known}
    )


def _given(form: Mapping[str, str]) -> Iterator[Row]:
    for number in range(LIMITS_MAX + len(EMPTY_ROWS)):
        fields = {name: form.get(f"{name}-{number}", "").strip() for name in Row.__dataclass_fields__}
        yield Row(**fields)


def _documents(rows: Sequence[Row], old: Mapping[str, Limit]) -> list[dict[str, Any]]:
    """Return rows in the API's format."""
    taken = {row.name for row in rows}
    documents = []
    for row in rows:
        name = row.name if row.name in old else _new_name(row, taken)
        taken.add(name)
        document: dict[str, Any] = {"name": name, "unit": row.unit, "amount": _amount(row)}
        if row.unit != "concurrent":
            per = parse_integer(row.per)
            document |= {"window_s": per} if isinstance(per, int) else {"period": per}
        document |= {term: text for term in _TERMS if (text := getattr(row, term))}
        document["per_tag"] = bool(row.per_tag)
        if name in old:
            kept = {field: value for field, value in asdict(old[name]).items() if field in _KEPT and value is not None}
            document |= kept if row.unit in WITH_OUTPUT else {**kept, "output_default": None}
            document["smooth"] = old[name].smooth and "window_s" in document and row.unit == "request"
            document |= _of_money(document, old[name]) if row.unit == "nanousd" else {}
            document |= _of_weights(old[name]) if row.unit == WEIGHTED else {}
        documents.append(document)
    return documents


def _of_money(document: Mapping[str, Any], before: Limit) -> dict[str, Any]:
    """Return the terms that a cost limit keeps.

    A limit in credits becomes one in dollars when its amount is not a whole number of credits.
    """
    kept: dict[str, Any] = {"when_unpriced": before.when_unpriced}
    worth, amount = before.credit_nanousd, document["amount"]
    if worth and isinstance(amount, int) and amount % worth == 0:
        kept |= {"unit": CREDIT, "amount": amount // worth, "credit_nanousd": worth}
    return kept


def _of_weights(before: Limit) -> dict[str, Any]:
    return {"weights": to_builtins(before.weights), "unit_name": before.unit_name}


def _new_name(row: Row, taken: set[str]) -> str:
    """Return a new limit's name for header fields and metrics: key_requests_per_minute."""
    unit = "cost" if row.unit == "nanousd" else f"{row.unit}s"
    name = f"key_{unit}_per_{_PERS.get(row.per, 'time').replace(' ', '_')}"
    return next(one for number in count(1) if (one := name if number == 1 else f"{name}_{number}") not in taken)


def _amount(row: Row) -> int | str:
    amount = typed_number.plain(row.amount)
    return parse_usd(amount) if row.unit == "nanousd" else parse_integer(amount)


def _row(limit: Limit) -> Row:
    is_money = limit.unit == "nanousd"
    amount = typed_number.write(Decimal(limit.amount).scaleb(-9).normalize()) if is_money else str(limit.amount)
    per = str(limit.window_s or limit.period or "")
    anchor = limit.anchor.isoformat() if limit.anchor else ""
    return Row(
        *(limit.name, amount, limit.unit, per, anchor),
        zone=limit.zone or "",
        model=limit.model or "",
        route=limit.route or "",
        tool=limit.tool or "",
        unit_name=limit.unit_name or "",
        per_tag="on" if limit.per_tag else "",
    )
