import csv
import io
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from keygauge_keyservice.accounts import accounts, plans
from keygauge_keyservice.app import create_app
from keygauge_keyservice.billing import billing


@pytest.fixture
def billed(connection, customer):
    """A customer with an invoice for April 2026, on a plan of $49."""
    billing.set_plan_price(connection, "pro", 49 * 10**9, actor="test")
    connection.execute("DELETE FROM plan_price_before")  # as if the plan had always had this price
    connection.execute("UPDATE account SET created_at = '2026-04-15T12:00:00Z'")
    billing.close_periods(connection, now=datetime(2026, 5, 2, tzinfo=UTC))
    return customer


def test_page_shows_plan_next_invoice_and_history(connection, billed, signed_in):
    plans.create(connection, plan_id="vip", name="VIP", limits=[], actor="test")
    accounts.change_plan(connection, billed.account.id, "vip", actor="op@example.com")
    page = signed_in.get("/billing").text
    for text in ("VIP plan", "usage only", "April 2026", "$49.00", "not prorated", "op@example.com"):
        assert text in page
    statement = billing.find_statement(connection, billed.account.id)
    assert f"{statement.next_invoice_at:%-d %b %Y}" in page


def test_each_invoice_is_available_as_json_and_csv(connection, billed, signed_in):
    (invoice,) = billing.list_invoices(connection, billed.account.id)
    alone = signed_in.get("/billing/invoices/2026-04.json").json
    assert (alone["period"], alone["total_nanousd"]) == ("2026-04-01", invoice.total_nanousd)
    assert signed_in.get("/billing/invoices.json").json["invoices"] == [alone]
    (row,) = csv.DictReader(io.StringIO(signed_in.get("/billing/invoices.csv").text))
    assert (row["period"], row["total_usd"]) == ("2026-04-01", "49.000000000")
    (row,) = csv.DictReader(io.StringIO(signed_in.get("/billing/invoices/2026-04.csv").text))
    assert (row["kind"], row["plan_id"], row["amount_usd"]) == ("plan", "pro", "49.000000000")


def test_month_that_awaits_its_invoice_is_shown(connection, billed, signed_in, monkeypatch):
    monkeypatch.setattr(billing, "GRACE", timedelta(days=40))
    ended = billing.find_ended(connection, billed.account.id)
    assert ended.end < datetime.now(UTC) < ended.next_invoice_at + timedelta(days=40)
    page = signed_in.get("/billing").text
    assert f"{ended.start:%B %Y}</a>" in page
    assert f">Invoice on {ended.next_invoice_at:%-d %b %Y}</span>" in page


@pytest.mark.parametrize("month", ["2026-03", "2026-13", "2026", "x", "2026-04-01", "99999-01", "2026-4"])
def test_month_without_an_invoice_is_not_found(billed, signed_in, month):
    assert signed_in.get(f"/billing/invoices/{month}.json").status_code == 404
    assert signed_in.get(f"/billing/invoices/{month}.csv").status_code == 404


def test_invoices_of_others_are_not_found(connection, billed, stranger, app, visitor):
    visitor.sign_in(stranger)
    connection.execute("DELETE FROM invoice WHERE account_id = %s", (stranger.account.id,))
    connection.execute("UPDATE account SET created_at = now() WHERE id = %s", (stranger.account.id,))
    assert visitor.get("/billing/invoices/2026-04.json").status_code == 404
    assert visitor.get("/billing/invoices.json").json["invoices"] == []
    assert "No invoices yet" in visitor.get("/billing").text


def test_invoice_page_has_line_items_and_does_not_change_later(connection, billed, signed_in, record, noon):
    may = int(noon.timestamp() * 1_000_000)
    record(billed, {"time_us": may}, {"time_us": may, "model": "claude-sonnet-4-6"}, {"time_us": may, "model": "house"})
    billing.close_periods(connection, now=datetime(2026, 6, 2, tzinfo=UTC))
    page = signed_in.get("/billing/invoices/2026-05").text
    items = page[page.index("<tbody>") :]
    for text in (
        "Pro plan",
        "1 month",
        "gpt-4o-mini",
        "claude-sonnet-4-6",
        "house",
        "31 May 2026 (UTC)",
        billed.account.name,
    ):
        assert text in page
    record(billed, {"time_us": may})
    assert signed_in.get("/billing/invoices/2026-05").text.endswith(items)
    assert signed_in.get("/billing/invoices/2026-13").status_code == 404


def test_invoice_lines_per_model_and_kind_add_up_on_the_page_and_in_files(connection, billed, signed_in, record, noon):
    may = int(noon.timestamp() * 1_000_000)
    used = {"time_us": may, "model": "gpt-4o", "cache_read_tokens": 400_000, "output_tokens": 100_000}
    record(
        billed,
        used | {"input_tokens": 1_000_001},
        used | {"input_tokens": 1_000_000, "output_tokens": 1_001, "reasoning_tokens": 1_000},
        {"time_us": may, "model": "claude-sonnet-4-6", "details": {"web_searches": 3, "cache_write_1h": 20}}
        | {"cache_write_tokens": 20},
        {"time_us": may, "model": None, "provider": None, "input_tokens": None, "output_tokens": None}
        | {"cache_read_tokens": None},
    )
    billing.close_periods(connection, now=datetime(2026, 6, 2, tzinfo=UTC))
    invoice = billing.list_invoices(connection, billed.account.id)[0]
    lines = {(line.model, line.usage_kind): (line.quantity, line.nanousd) for line in invoice.lines}
    assert lines["gpt-4o", "input"] == (1_200_001, 3_000_002_500)
    assert lines["gpt-4o", "cache_read"] == (800_000, 1_000_000_000)
    assert lines["gpt-4o", "output"] == (100_001, 1_000_010_000)
    assert lines["gpt-4o", "reasoning"] == (1_000, 10_000_000)
    assert lines["claude-sonnet-4-6", "cache_write_1h"] == (20, 120_000)
    assert lines["claude-sonnet-4-6", "web_searches"] == (3, 30_000_000)
    assert lines["", "request"] == (1, 0)
    assert sum(line.nanousd for line in invoice.lines) == invoice.total_nanousd
    page = signed_in.get("/billing/invoices/2026-05").text
    amounts = re.findall(r'data-name="Amount">(-?)\$([\d,.]+)</td></tr>', page)
    *items, total = [Decimal(sign + amount.replace(",", "")) for sign, amount in amounts]
    assert len(items) == len(invoice.lines)
    assert sum(items) == total
    rows = list(csv.DictReader(io.StringIO(signed_in.get("/billing/invoices/2026-05.csv").text)))
    assert sum(Decimal(row["amount_usd"]) for row in rows) == Decimal(invoice.total_nanousd).scaleb(-9)
    assert ("gpt-4o", "cache_read", "800000", "1.000000000") in [
        (row["model"], row["usage_kind"], row["quantity"], row["amount_usd"]) for row in rows
    ]
    exported = signed_in.get("/billing/invoices/2026-05.json").json["lines"]
    assert [(line["model"], line["usage_kind"]) for line in exported] == list(lines)


def test_focus_rows_add_up_to_the_invoice(connection, billed, signed_in, record, noon):
    record(billed, {"time_us": int(noon.timestamp() * 1_000_000)})
    billing.close_periods(connection, now=datetime(2026, 6, 2, tzinfo=UTC))
    rows = list(csv.DictReader(io.StringIO(signed_in.get("/billing/focus/2026-05.csv").text)))
    total = sum(round(Decimal(row["BilledCost"]) * 10**9) for row in rows)
    assert total == billing.list_invoices(connection, billed.account.id)[0].total_nanousd


def test_prices_of_the_models_in_use_are_shown(signed_in, customer, record):
    record(customer, {"time_us": int(datetime.now(UTC).timestamp() * 1_000_000)})
    page = signed_in.get("/billing").text
    assert page.index("$0.15<") < page.index("$0.075<") < page.index("$0.60<")


def test_the_contact_address_is_on_every_page(settings, customer):
    app = create_app(replace(settings, contact_url="mailto:help@acme.com"))
    try:
        assert 'href="mailto:help@acme.com"' in app.test_client().get("/sign-in").text
    finally:
        app.extensions["keygauge"].close()
