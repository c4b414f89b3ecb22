import csv
import io
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from keygauge_keyservice.accounts import accounts, plans
from keygauge_keyservice.billing import billing


@pytest.fixture
def billed(connection, customer):
    """A customer with an invoice for April 2026, on a plan of $49."""
    billing.set_plan_price(connection, "pro", 49 * 10**9, actor="test")
    connection.execute("DELETE FROM plan_price_before")  # as if it had always had this price
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


def test_invoice_has_line_items_that_add_up_and_a_page_to_print(connection, billed, signed_in, record, noon):
    may = int(noon.timestamp() * 1_000_000)
    record(billed, {"time_us": may}, {"time_us": may, "model": "claude-sonnet-4-6"}, {"time_us": may, "model": "house"})
    billing.close_periods(connection, now=datetime(2026, 6, 2, tzinfo=UTC))
    page = signed_in.get("/billing/invoices/2026-05").text
    for text in (
        "Pro plan, 1 month",
        "gpt-4o-mini",
        "claude-sonnet-4-6",
        "house",
        "31 May 2026 (UTC)",
        billed.account.name,
    ):
        assert text in page
    assert "Recorded after" not in page
    record(billed, {"time_us": may})
    assert (
        "Recorded after this invoice was issued, billed on the next" in signed_in.get("/billing/invoices/2026-05").text
    )
    assert signed_in.get("/billing/invoices/2026-13").status_code == 404


def test_focus_rows_add_up_to_the_invoice_to_the_last_nano_dollar(connection, billed, signed_in, record, noon):
    may = int(noon.timestamp() * 1_000_000)
    day_us = 86_400_000_000
    record(
        billed,
        {"time_us": may},
        {"time_us": may + day_us},
        {"time_us": may, "model": "claude-sonnet-4-6", "details": {"web_searches": 2, "cache_write_1h": 3}},
    )
    billing.close_periods(connection, now=datetime(2026, 6, 2, tzinfo=UTC))
    rows = list(csv.DictReader(io.StringIO(signed_in.get("/billing/focus/2026-05.csv").text)))
    total = sum(round(Decimal(row["BilledCost"]) * 10**9) for row in rows)
    assert total == billing.list_invoices(connection, billed.account.id)[0].total_nanousd
    assert {row["ChargeCategory"] for row in rows} == {"Purchase", "Usage"}
    assert len(rows) == 1 + 3  # the plan, and each day's models
    used = next(row for row in rows if row["SkuId"] == "claude-sonnet-4-6")
    assert (used["ChargePeriodStart"], used["BillingCurrency"]) == ("2026-05-20T00:00:00Z", "USD")
    assert (used["x_WebSearches"], used["x_CacheWrite1h"], used["x_Images"]) == ("2", "3", "")
    assert int(used["x_InputTokens"]) + int(used["x_OutputTokens"]) == int(used["ConsumedQuantity"])


def test_prices_of_the_models_in_use_are_told(signed_in, customer, record):
    record(customer, {"time_us": int(datetime.now(UTC).timestamp() * 1_000_000)})
    page = signed_in.get("/billing").text
    assert page.index("$0.1500") < page.index("$0.0750") < page.index("$0.6000")
