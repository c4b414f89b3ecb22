import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from keygauge_keyservice.billing import billing, invoice_export


@pytest.fixture
def invoices(connection, used_months):
    billing.close_periods(connection, now=datetime(2026, 6, 2, tzinfo=UTC))
    return billing.list_invoices(connection, "acme")


def test_table_lines_add_up_to_the_documents_total(invoices):
    for invoice in invoices:
        exported = json.loads(json.dumps(invoice_export.document(invoice)))
        names, rows = invoice_export.lines(invoice)
        amounts = [dict(zip(names, row, strict=True))["amount_usd"] for row in rows]
        assert sum(amounts) == Decimal(exported["total_nanousd"]).scaleb(-9)
        assert sum(line["nanousd"] for line in exported["lines"]) == exported["total_nanousd"]
    assert (exported["period"], exported["due_on"]) == ("2026-04-01", invoice.due_on.isoformat())


def test_each_invoice_is_a_row_with_amounts_in_dollars(invoices):
    names, rows = invoice_export.table(invoices)
    exported = [dict(zip(names, row, strict=True)) for row in rows]
    assert [(str(row["total_usd"]), str(row["plan_usd"])) for row in exported] == [
        ("20.000004500", "20.000000000"),
        ("20.000001500", "20.000000000"),
    ]
    assert not {"lines", "total_nanousd"} & set(names)


def test_the_current_period_has_no_invoice_only_fields(connection, used_months, noon):
    exported = invoice_export.document(billing.find_statement(connection, "acme", now=noon))
    assert json.loads(json.dumps(exported))["usage_nanousd"] == 4_500
    assert "due_on" not in exported
