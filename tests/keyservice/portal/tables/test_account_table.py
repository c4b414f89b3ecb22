from datetime import UTC, datetime

import pytest

from keygauge_keyservice.accounts import accounts, plans


@pytest.mark.parametrize("page", ["show", "find_keys"])
def test_pasted_key_finds_its_account_without_its_secret_in_the_address(operating, customer, stranger, page):
    answer = operating.post("/operator/search", {"q": customer.token, "page": page}, page="/operator")
    assert answer.location.endswith(f"?q=kg_live_{customer.key.id}")
    found = operating.get(answer.location).text
    assert (customer.account.name in found, stranger.account.name in found) == (True, False)
    assert customer.token not in found
    assert customer.account.name in operating.get(f"/operator?q=kg_live_{customer.key.id[:5]}").text


def test_accounts_are_sorted_filtered_and_moved_in_bulk(connection, operating, customer, stranger, record):
    plans.create(connection, plan_id="vip", name="VIP", limits=[], actor="test")
    record(stranger, {"time_us": int(datetime.now(UTC).timestamp() * 1_000_000)}, {"status": 500})
    by_requests = operating.get("/operator?sort=-requests").text
    assert by_requests.index(stranger.account.name) < by_requests.index(customer.account.name)
    chosen = {"account": [customer.account.id, stranger.account.id], "plan": "vip"}
    moved = operating.post("/operator/accounts/plan?q=a&sort=-cost", chosen, page="/operator")
    assert moved.location.endswith("/operator?q=a&sort=-cost&notice=plan")
    assert {account.plan_id for account in accounts.list_accounts(connection)} == {"vip"}
    assert "No matching accounts" in operating.get("/operator?plan=pro").text
    assert customer.account.name in operating.get("/operator?plan=vip&status=active").text


@pytest.mark.usefixtures("customer")
def test_plan_change_without_a_selection_says_so(operating):
    answer = operating.post("/operator/accounts/plan", {"plan": "pro"}, page="/operator")
    page = operating.get(answer.location).text
    assert "Select one or more accounts first." in page
    assert "Plan changed." not in page


@pytest.mark.usefixtures("customer")
def test_first_click_on_a_number_shows_the_highest(operating):
    page = operating.get("/operator").text
    assert 'href="/operator?sort=-requests"' in page
    assert 'href="/operator?sort=-used"' in page
    assert 'href="/operator?sort=plan"' in page
    assert 'href="/operator?sort=requests"' in operating.get("/operator?sort=-requests").text


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
