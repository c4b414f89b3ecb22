"""Closed invoices as JSON and CSV: the same for the API and the portal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from datetime import date
from typing import Any

from flask import Response

from keygauge_keyservice.billing.billing import Invoice, Statement
from keygauge_keyservice.web.csv import usd, write_csv

_NAMES = (*(name.name for name in fields(Invoice)), "total_nanousd")


def document(found: Invoice | Statement) -> dict[str, Any]:
    """Write an invoice, or the current period, for JSON."""
    values = asdict(found) | ({"total_nanousd": found.total_nanousd} if isinstance(found, Invoice) else {})
    return {name: value.isoformat() if isinstance(value, date) else value for name, value in values.items()}


def csv(invoices: Sequence[Invoice], *, name: str = "invoices") -> Response:
    """Answer with a line for each invoice, money in US dollars."""
    rows = (
        [usd(value) if name.endswith("_nanousd") else value for name in _NAMES for value in [getattr(invoice, name)]]
        for invoice in invoices
    )
    return Response(
        write_csv([name.replace("_nanousd", "_usd") for name in _NAMES], rows),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}.csv"'},
    )
