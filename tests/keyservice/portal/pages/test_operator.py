import re
from datetime import UTC, datetime

import pytest

from keygauge_keyservice.accounts import accounts, members, plans
from keygauge_keyservice.billing import billing
from keygauge_keyservice.keys import keys
from keygauge_keyservice.pricing import own_prices

PASSWORD = "the operator's password"


@pytest.fixture
def operating(app, connection, visitor):
    """An operator, signed in."""
    members.create(
        connection, account_id=None, email="op@example.com", password=PASSWORD, role="operator", actor="test"
    )
    operating = type(visitor)(app.test_client())
    form = {"email": "op@example.com", "password": PASSWORD}
    assert operating.client.post("/sign-in", data=form).status_code == 303
    return operating


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


def test_operator_makes_moves_suspends_and_notes(connection, operating, customer):
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
def test_wrong_account_form_makes_none(connection, operating, customer, form):
    answer = operating.post("/operator/accounts", {"plan": "pro"} | form, page="/operator")
    assert answer.status_code in {404, 422}
    assert len(accounts.list_accounts(connection)) == 1


def test_operator_looks_at_an_accounts_pages(operating, customer, stranger):
    path = f"/operator/accounts/{customer.account.id}"
    assert operating.post(f"{path}/look", page=path).location == "/"
    page = operating.get("/").text
    assert "as the customer" in page
    keys_page = operating.get("/keys").text
    assert customer.key.name in keys_page
    assert stranger.key.name not in keys_page
    assert "op@example.com" in operating.get("/audit").text
    assert operating.post("/operator/leave", page="/").location == "/operator"
    assert operating.get("/keys").location == "/operator"


def test_looking_on_changes_nothing(app, connection, operating, customer):
    path = f"/operator/accounts/{customer.account.id}"
    operating.post(f"{path}/look", page=path)
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


def test_members_do_not_see_the_operators_pages(app, signed_in, customer):
    pages = [rule for rule in app.url_map.iter_rules() if rule.endpoint.startswith("portal.operator.")]
    assert len(pages) > 8
    for rule in pages:
        path = re.sub("<[^>]+>", customer.account.id, rule.rule)
        answer = signed_in.post(path) if "POST" in rule.methods else signed_in.get(path)
        assert answer.status_code == 404, path
    assert "/operator" not in signed_in.get("/").text


def test_operator_sets_prices(connection, operating):
    form = {"model": "House-Model", "input": "0.50", "output": "2", "provider": "", "account": "", "cache_read": ""}
    answer = operating.post("/operator/prices", form, page="/operator/prices")
    assert answer.status_code == 303
    (price,) = own_prices.list_prices(connection)
    assert (price.model, price.tiers[0].input, price.tiers[0].output) == ("house-model", 5 * 10**8, 2 * 10**9)
    assert price.tiers[0].cache_read == price.tiers[0].input
    page = operating.get(answer.location).text
    assert "$0.5000" in page
    assert operating.get("/operator/prices.json").json["prices"][0]["model"] == "house-model"


@pytest.mark.parametrize(
    "wrong",
    [{"model": ""}, {"input": "free"}, {"input": "-1"}, {"output": "1e999999"}, {"output": "NaN"}, {"model": "a\nb"}],
)
def test_wrong_price_is_refused(connection, operating, wrong):
    form = {"model": "m", "input": "1", "output": "2"} | wrong
    answer = operating.post("/operator/prices", form, page="/operator/prices")
    assert (answer.status_code, "Price not saved" in answer.text) == (422, True)
    assert own_prices.list_prices(connection) == []


def test_price_for_an_account_that_is_not_there_is_refused(operating):
    form = {"model": "m", "input": "1", "output": "2", "account": "nobody"}
    assert operating.post("/operator/prices", form, page="/operator/prices").status_code == 404


@pytest.mark.parametrize("table", ["accounts", "keys", "plans", "prices"])
def test_operators_tables_come_as_csv_and_json(operating, customer, table):
    found = operating.get(f"/operator/{table}.json").json[table]
    assert operating.get(f"/operator/{table}.csv").text.count("\n") == len(found) + 1
    assert operating.get(f"/operator/{table}.json?q=%25").status_code == 200
    assert operating.get("/operator/secrets.json").status_code == 404


@pytest.mark.parametrize("page", ["show", "find_keys"])
def test_pasted_key_finds_its_owner_and_its_secret_gets_into_no_address(operating, customer, stranger, page):
    answer = operating.post("/operator/search", {"q": customer.token, "page": page}, page="/operator")
    assert answer.location.endswith(f"?q=kg_live_{customer.key.id}")
    found = operating.get(answer.location).text
    assert (customer.account.name in found, stranger.account.name in found) == (True, False)
    assert customer.token not in found
    assert customer.account.name in operating.get(f"/operator?q=kg_live_{customer.key.id[:5]}").text


def test_accounts_are_sorted_filtered_and_moved_together(connection, operating, customer, stranger, record):
    plans.create(connection, plan_id="vip", name="VIP", limits=[], actor="test")
    record(stranger, {"time_us": int(datetime.now(UTC).timestamp() * 1_000_000)}, {"status": 500})
    by_requests = operating.get("/operator?sort=-requests").text
    assert by_requests.index(stranger.account.name) < by_requests.index(customer.account.name)
    chosen = {"account": [customer.account.id, stranger.account.id], "plan": "vip"}
    operating.post("/operator/accounts/plan", chosen, page="/operator")
    assert {account.plan_id for account in accounts.list_accounts(connection)} == {"vip"}
    assert "No matching accounts" in operating.get("/operator?plan=pro").text
    assert customer.account.name in operating.get("/operator?plan=vip&status=active").text


def test_account_is_suspended_after_a_question(connection, operating, customer):
    path = f"/operator/accounts/{customer.account.id}"
    assert f"Suspend {customer.account.name}?" in operating.get(f"{path}/suspend").text
    assert accounts.require(connection, customer.account.id).status == "active"


def test_accounts_near_their_limits_come_first(connection, operating, customer, stranger):
    limit = next(limit for limit in plans.require(connection, "pro").limits if limit.period)
    month = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    for account, used in ((customer.account, 4_000), (stranger.account, 18_000)):
        connection.execute(
            "INSERT INTO limit_state (id, account_id, head, cells, ends) VALUES (%s, %s, %s, %s, %s)",
            (f"{limit.id}:{account.id}", account.id, int(month.timestamp()), [used], [2**60]),
        )
    page = operating.get("/operator?sort=-quota").text
    assert page.index(stranger.account.name) < page.index(customer.account.name)
    assert '<span class="badge warn">90%</span>' in page
    assert "<span>20%</span>" in page


def test_invoice_is_due_overdue_and_paid(connection, operating, signed_in, customer):
    billing.set_plan_price(connection, "pro", 49 * 10**9, actor="test")
    connection.execute("DELETE FROM plan_price_before")  # as if it had always had this price
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
