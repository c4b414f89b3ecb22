import csv
import io
from datetime import UTC, datetime

import pytest

from keygauge_keyservice.accounts import accounts, plans
from keygauge_keyservice.billing import billing


@pytest.fixture
def billed(connection, customer):
    """A customer with an invoice for April 2026, on a plan of $49."""
    billing.set_plan_price(connection, "pro", 49 * 10**9, actor="test")
    connection.execute("UPDATE account SET created_at = '2026-04-15T12:00:00Z'")
    billing.close_periods(connection, now=datetime(2026, 5, 2, tzinfo=UTC))
    return customer


def test_page_tells_plan_next_invoice_and_history(connection, billed, signed_in):
    plans.create(connection, plan_id="vip", name="VIP", limits=[], actor="test")
    accounts.change_plan(connection, billed.account.id, "vip", actor="op@example.com")
    page = signed_in.get("/billing").text
    for text in ("VIP plan", "usage only", "April 2026", "$49.00", "not prorated", "op@example.com"):
        assert text in page
    statement = billing.find_statement(connection, billed.account.id)
    assert f"{statement.next_invoice_at:%-d %b %Y}" in page


def test_each_invoice_comes_as_json_and_csv(connection, billed, signed_in):
    (invoice,) = billing.list_invoices(connection, billed.account.id)
    alone = signed_in.get("/billing/invoices/2026-04.json").json
    assert (alone["period"], alone["total_nanousd"]) == ("2026-04-01", invoice.total_nanousd)
    assert signed_in.get("/billing/invoices.json").json["invoices"] == [alone]
    for address in ("/billing/invoices/2026-04.csv", "/billing/invoices.csv"):
        (row,) = csv.DictReader(io.StringIO(signed_in.get(address).text))
        assert (row["period"], row["total_usd"]) == ("2026-04-01", "49.000000000")


@pytest.mark.parametrize("month", ["2026-03", "2026-13", "2026", "x", "2026-04-01", "99999-01", "2026-4"])
def test_month_without_an_invoice_is_not_found(billed, signed_in, month):
    assert signed_in.get(f"/billing/invoices/{month}.json").status_code == 404
    assert signed_in.get(f"/billing/invoices/{month}.csv").status_code == 404


def test_invoices_of_others_are_not_found(connection, billed, stranger, app, visitor):
    visitor.sign_in(stranger)
    connection.execute("DELETE FROM invoice WHERE account_id = %s", (stranger.account.id,))
    assert visitor.get("/billing/invoices/2026-04.json").status_code == 404
    assert visitor.get("/billing/invoices.json").json["invoices"] == []
    assert "No invoices yet" in visitor.get("/billing").text
