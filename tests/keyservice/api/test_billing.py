import csv
import io
from datetime import UTC, datetime

import pytest

from keygauge_keyservice.billing import billing

JUNE_2 = datetime(2026, 6, 2, tzinfo=UTC)


def test_invoices_are_paginated(client, operator, connection, walk):
    client.post("/v1/plans", json={"id": "free", "name": "Free", "limits": []}, headers=operator)
    for name in ("one", "two"):
        client.post("/v1/accounts", json={"name": name, "plan": "free"}, headers=operator)
    connection.execute("UPDATE account SET created_at = now() - interval '100 days'")
    assert client.post("/v1/billing/close", headers=operator).json["closed"] > 4
    whole = client.get("/v1/billing", headers=operator).json
    assert whole["next"] is None
    assert walk("/v1/billing", "invoices") == whole["invoices"]
    assert client.get("/v1/billing?after=x", headers=operator).status_code == 422


@pytest.mark.usefixtures("used_months")
def test_billing_is_read_closed_and_priced(client, operator, connection):
    billing.close_periods(connection, now=JUNE_2)
    found = client.get("/v1/billing?account=acme", headers=operator).json
    assert found["invoices"][0]["total_nanousd"] == 20_000_004_500
    assert found["current"]["plan_nanousd"] == 20 * 10**9
    rows = list(csv.DictReader(io.StringIO(client.get("/v1/billing?format=csv", headers=operator).text)))
    assert [row["total_usd"] for row in rows if row["account_id"] == "acme"] == ["20.000004500", "20.000001500"]
    assert client.post("/v1/billing/close", headers=operator).json["closed"] >= 0
    assert client.get("/v1/billing?account=nobody", headers=operator).status_code == 404
    url = "/v1/plans/ledger/price"
    assert client.put(url, json={"monthly_nanousd": 5}, headers=operator).json == {"monthly_nanousd": 5}
    assert client.get(url, headers=operator).json == {"monthly_nanousd": 5}
    assert client.put(url, json={"monthly_nanousd": -5}, headers=operator).status_code == 422
    assert client.put("/v1/plans/none/price", json={"monthly_nanousd": 5}, headers=operator).status_code == 404


@pytest.mark.usefixtures("used_months")
def test_ended_month_is_read_with_the_current_one(client, operator, connection):
    ended = billing.find_ended(connection, "acme")  # in the first days of a month
    found = client.get("/v1/billing?account=acme", headers=operator).json
    assert (found["ended"] and found["ended"]["start"]) == (ended and f"{ended.start:%Y-%m-%dT%H:%M:%SZ}")
    assert found["current"]["start"] == f"{datetime.now(UTC):%Y-%m}-01T00:00:00Z"
    assert client.get("/v1/billing", headers=operator).json["ended"] is None


def test_empty_body_does_not_remove_a_plan_price(client, operator):
    client.post("/v1/plans", json={"id": "p", "name": "P", "limits": []}, headers=operator)
    answer = client.put("/v1/plans/p/price", json={"monthly_nanousd": 5_000_000_000}, headers=operator)
    assert answer.status_code == 200
    answer = client.put("/v1/plans/p/price", json={}, headers=operator)
    assert (answer.status_code, answer.json["errors"][0]["code"]) == (422, "missing")
    assert client.get("/v1/plans/p/price", headers=operator).json == {"monthly_nanousd": 5_000_000_000}
    assert client.put("/v1/plans/p/price", json={"monthly_nanousd": None}, headers=operator).status_code == 200


@pytest.mark.usefixtures("used_months")
def test_invoice_is_marked_as_paid_by_operators_only(client, operator, connection):
    period = billing.close_periods(connection, now=JUNE_2)[0].period
    url = f"/v1/accounts/acme/invoices/{period}"
    paid = client.patch(url, json={"paid": True}, headers=operator).json
    assert (paid["period"], bool(paid["paid_at"])) == (str(period), True)
    again = client.patch(url, json={"paid": True}, headers=operator).json
    assert again["paid_at"] == paid["paid_at"]
    assert client.patch(url, json={"paid": False}, headers=operator).json["paid_at"] is None
    assert client.patch(url, json={}, headers=operator).status_code == 422
    assert client.patch(url, json={"paid": True}).status_code == 401
    for other in ("2020-01-01", "2026", "x"):
        answer = client.patch(f"/v1/accounts/acme/invoices/{other}", json={"paid": True}, headers=operator)
        assert (answer.status_code, answer.json["code"]) == (404, "invoice_not_found")
