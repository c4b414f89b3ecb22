import re
from datetime import UTC, datetime

import pytest

from keygauge_keyservice.accounts import accounts
from keygauge_keyservice.billing import billing
from keygauge_keyservice.keys import keys

PASSWORD = "the operator's password"


def test_operator_finds_every_account(operating, customer, stranger):
    assert operating.get("/").location == "/operator"
    page = operating.get("/operator").text
    assert customer.account.name in page
    assert stranger.account.name in page
    for query in (customer.account.name.upper(), customer.account.id, customer.member.email):
        found = operating.get("/operator", query_string={"q": query}).text
        assert customer.account.name in found
        assert stranger.account.name not in found
    assert "No matching accounts" in operating.get("/operator?q=%25").text


def test_operator_finds_keys_of_all_accounts(operating, customer, stranger):
    page = operating.get("/operator/keys").text
    assert customer.key.name in page
    assert stranger.key.name in page
    assert stranger.key.name not in operating.get(f"/operator/keys?q={customer.key.id}").text
    assert "Pro" in operating.get("/operator/plans").text


def test_operator_creates_accounts_suspends_them_and_adds_notes(connection, operating, customer):
    made = operating.post("/operator/accounts", {"name": "Initech", "plan": "pro"}, page="/operator")
    assert "Initech" in operating.get(made.location).text
    path = f"/operator/accounts/{customer.account.id}"
    assert operating.post(f"{path}/status", {"status": "suspended"}, page=path).status_code == 303
    assert accounts.require(connection, customer.account.id).status == "suspended"
    assert operating.post(f"{path}/status", {"status": "gone"}, page=path).status_code == 422
    assert operating.post(f"{path}/plan", {"plan": "none"}, page=path).status_code == 404
    operating.post(f"{path}/notes", {"text": "Called about <b>limits</b>"}, page=path)
    assert "Called about &lt;b&gt;limits&lt;/b&gt;" in operating.get(path).text
    for text in ("", "x" * 2001, "a\0b"):
        assert operating.post(f"{path}/notes", {"text": text}, page=path).status_code == 422
    actors = connection.execute(
        "SELECT DISTINCT actor FROM audit WHERE action LIKE 'account.s%' OR action = 'note.add'"
    )
    assert [row["actor"] for row in actors] == ["op@example.com"]


@pytest.mark.parametrize(
    "form", [{"name": ""}, {"name": "x" * 101}, {"name": "A", "plan": "'"}, {"name": "A", "plan": "none"}]
)
def test_invalid_account_form_creates_none(connection, operating, customer, form):
    answer = operating.post("/operator/accounts", {"plan": "pro"} | form, page="/operator")
    assert answer.status_code in {404, 422}
    assert len(accounts.list_accounts(connection)) == 1


def test_operator_views_an_account_as_the_customer(operating, customer, stranger):
    path = f"/operator/accounts/{customer.account.id}"
    assert operating.post(f"{path}/view", page=path).location == "/"
    page = operating.get("/").text
    assert "as the customer" in page
    keys_page = operating.get("/keys").text
    assert customer.key.name in keys_page
    assert stranger.key.name not in keys_page
    assert "op@example.com" in operating.get("/audit").text
    assert operating.post("/operator/leave", page="/").location == "/operator"
    assert operating.get("/keys").location == "/operator"


def test_viewing_as_customer_is_read_only(app, connection, operating, customer):
    path = f"/operator/accounts/{customer.account.id}"
    operating.post(f"{path}/view", page=path)
    assert "Create key" not in operating.get("/keys").text
    assert operating.get("/keys/new").status_code == 403
    rules = [
        rule for rule in app.url_map.iter_rules() if "POST" in rule.methods and rule.endpoint.startswith("portal.")
    ]
    own = ("portal.operator.", "portal.sign_in.", "portal.password.", "portal.invitation.", "portal.single_sign_on.")
    changing = [rule for rule in rules if not rule.endpoint.startswith(own)]
    assert len(changing) >= 15
    for rule in changing:
        address = re.sub(r"<int:[^>]+>", str(customer.member.id), rule.rule)
        answer = operating.post(re.sub("<[^>]+>", customer.key.id, address), {"status": "disabled"}, page="/audit")
        assert (answer.status_code, "read-only" in answer.text) == (403, True), rule.rule
    assert keys.require(connection, customer.key.id).status == "active"
    assert operating.post("/password/preferences", {"zone": "UTC"}, page="/password").status_code == 303


def test_operator_invites_the_first_owner_and_locks_a_key(connection, operating, signed_in, customer, stranger):
    path = f"/operator/accounts/{customer.account.id}"
    page = operating.post(f"{path}/members", {"email": "grace@acme.example", "role": "owner"}, page=path).text
    assert re.search(r"/invitation/[\w-]+", page)
    assert (
        operating.post(f"{path}/members", {"email": "x@acme.example", "role": "operator"}, page=path).status_code == 422
    )
    assert operating.post(f"{path}/keys/{customer.key.id}/status", {"status": "disabled"}, page=path).status_code == 303
    assert keys.require(connection, customer.key.id).locked_status
    assert signed_in.post(f"/keys/{customer.key.id}/status", {"status": "active"}).status_code == 403
    assert operating.post(f"{path}/keys/{stranger.key.id}/status", {"status": "disabled"}, page=path).status_code == 404


def test_members_cannot_open_operator_pages(app, signed_in, customer):
    pages = [rule for rule in app.url_map.iter_rules() if rule.endpoint.startswith("portal.operator.")]
    assert len(pages) > 8
    for rule in pages:
        path = re.sub("<[^>]+>", customer.account.id, rule.rule)
        answer = signed_in.post(path) if "POST" in rule.methods else signed_in.get(path)
        assert answer.status_code == 404, path
    assert "/operator" not in signed_in.get("/").text


def test_suspending_an_account_requires_confirmation(connection, operating, customer):
    path = f"/operator/accounts/{customer.account.id}"
    assert f"Suspend {customer.account.name}?" in operating.get(f"{path}/suspend").text
    assert accounts.require(connection, customer.account.id).status == "active"


def test_invoice_is_due_overdue_and_paid(connection, operating, signed_in, customer):
    billing.set_plan_price(connection, "pro", 49 * 10**9, actor="test")
    connection.execute("DELETE FROM plan_price_before")  # as if the plan had always had this price
    connection.execute("UPDATE account SET created_at = '2026-04-01'")
    billing.close_periods(connection, now=datetime(2026, 5, 2, tzinfo=UTC))
    assert "Overdue" in signed_in.get("/billing").text
    connection.execute("UPDATE invoice SET closed_at = now()")
    assert f"Due {datetime.now(UTC) + billing.TERMS:%-d %b %Y}" in signed_in.get("/billing/invoices/2026-04").text
    path = f"/operator/accounts/{customer.account.id}"
    assert "April 2026, $49.00" in operating.get(path).text
    operating.post(f"{path}/invoices", {"period": "2026-04-01", "paid": "1"}, page=path)
    assert '<span class="badge on">Paid</span>' in signed_in.get("/billing").text
    assert "Invoice marked as paid" in signed_in.get("/audit").text
    assert signed_in.get("/billing/invoices/2026-04.json").json["paid_at"]
    operating.post(f"{path}/invoices", {"period": "2026-04-01", "paid": "0"}, page=path)
    assert signed_in.get("/billing/invoices/2026-04.json").json["paid_at"] is None
    for period in ("2026-03-01", "never"):
        assert operating.post(f"{path}/invoices", {"period": period, "paid": "1"}, page=path).status_code == 404
