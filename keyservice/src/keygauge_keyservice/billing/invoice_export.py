"""Invoices as JSON documents and table rows, for the API and the portal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from datetime import date
from typing import Any

from keygauge_keyservice.billing.billing import Invoice, Statement
from keygauge_keyservice.csv_stream import usd

_NAMES = (*(field.name for field in fields(Invoice) if field.name != "lines"), "due_on", "total_nanousd")
_LINE = ("kind", "plan_id", "days", "period", "model", "usage_kind", "quantity", "nanousd")


def document(found: Invoice | Statement) -> dict[str, Any]:
    """Return an invoice, or the current period, as a JSON document."""
    values = asdict(found)
    if isinstance(found, Invoice):
        values |= {"due_on": found.due_on, "total_nanousd": found.total_nanousd}
    return {name: _plain(value) for name, value in values.items()}


def lines(invoice: Invoice) -> tuple[list[str], list[list[Any]]]:
    """Return the header and rows of a table with one row per invoice line; the amounts add up to the total."""
    rows = [
        [usd(line.nanousd) if name == "nanousd" else getattr(line, name) for name in _LINE] for line in invoice.lines
    ]
    return ["amount_usd" if name == "nanousd" else name for name in _LINE], rows


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [{name: _plain(part) for name, part in line.items()} for line in value]
    return value.isoformat() if isinstance(value, date) else value


def table(invoices: Sequence[Invoice]) -> tuple[list[str], Iterator[list[Any]]]:
    """Return the header and rows of a table with one row per invoice; amounts are in US dollars."""
    rows = (
        [usd(value) if name.endswith("_nanousd") else value for name in _NAMES for value in [getattr(invoice, name)]]
        for invoice in invoices
    )
    return [name.replace("_nanousd", "_usd") for name in _NAMES], rows
