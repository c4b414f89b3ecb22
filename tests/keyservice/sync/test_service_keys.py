"""The scope of a service token: only the keys that the service has looked up."""

import pytest
from row_counts import count_rows

from keygauge.key import digest
from keygauge_keyservice.accounts import accounts, plans, tokens
from keygauge_keyservice.keys import keys
from keygauge_keyservice.limits import lease_rows
from keygauge_keyservice.secret import Peppers
from keygauge_keyservice.sync import service_keys

PEPPERS = Peppers.parse("1:" + "11" * 32)  # as in the app fixture
RPM = plans.Limit(name="rpm", unit="request", amount=60, window_s=3600)
BY_KEY = plans.Limit(name="per_key", unit="request", amount=5, period="day", subject="key")


@pytest.fixture
def limits(connection):
    plans.create(connection, plan_id="free", name="Free", limits=[RPM, BY_KEY], actor="test")
    return {limit.name: limit.id for limit in plans.require(connection, "free").limits}


@pytest.fixture
def make_key(connection, limits):
    def make(name):
        account = accounts.create(connection, name=name, plan_id="free", actor="test")
        return keys.create(connection, peppers=PEPPERS, account_id=account.id, name=name, actor="test")

    return make


@pytest.fixture
def send(client, connection):
    """Return `send(service, **parts)`, which sends a heartbeat with a service's token."""
    secrets = {name: tokens.create(connection, kind="service", name=name, actor="t")[1] for name in ("shop", "search")}

    def send(service, **parts):
        message = {"replica": "a" * 32, "service": "x", "host": "h", "version": "0", "mode": "enforce", "cursor": None}
        headers = {"Authorization": f"Bearer {secrets[service]}"}
        answer = client.post("/v1/heartbeat", json=message | parts, headers=headers)
        assert answer.status_code == 200
        return answer.json

    return send


def look_up(key, token):
    return {"look_up": [{"key": key.id, "digest": digest(token).hex()}]}


def test_changes_of_keys_are_sent_only_to_services_that_looked_them_up(send, connection, make_key):
    (ours, token), (theirs, _) = make_key("ours"), make_key("theirs")
    send("shop", **look_up(ours, token))
    for key in (ours, theirs):
        keys.set_status(connection, key.id, "disabled", actor="test")
    assert [key["id"] for key in send("shop", cursor=0)["keys"]] == [ours.id]
    assert send("search", cursor=0)["keys"] == []


def test_a_wrong_secret_gives_no_access(send, connection, make_key):
    (ours, _), (_, other_token) = make_key("ours"), make_key("other")
    assert send("shop", **look_up(ours, other_token))["found"] == []
    keys.set_status(connection, ours.id, "disabled", actor="test")
    assert send("shop", cursor=0)["keys"] == []


def test_limits_are_spent_only_by_services_that_looked_up_a_key(send, make_key, limits):
    (ours, token), (theirs, _) = make_key("ours"), make_key("theirs")
    send("shop", **look_up(ours, token))
    of_ours = [f"{limits['rpm']}:{ours.account_id}", f"{limits['per_key']}:{ours.id}"]
    of_theirs = [f"{limits['rpm']}:{theirs.account_id}", f"{limits['per_key']}:{theirs.id}"]
    acquire = [{"limit": limit, "units": 1} for limit in of_ours + of_theirs]
    assert sorted(grant["limit"] for grant in send("shop", acquire=acquire)["grants"]) == sorted(of_ours)
    assert send("search", acquire=acquire)["grants"] == []


def test_prices_of_an_account_are_sent_only_to_services_that_looked_up_a_key(send, client, operator, make_key):
    (ours, token) = make_key("ours")
    price = {"model": "house-1", "tiers": [{"input": 7}], "account": ours.account_id}
    assert client.post("/v1/prices", json=price, headers=operator).status_code == 201
    want = {"prices": {"state": None, "want": [{"tariff": ours.account_id, "provider": None, "model": "house-1"}]}}
    assert send("search", **want)["prices"]["rates"] == [[]]
    send("shop", **look_up(ours, token))
    assert send("shop", **want)["prices"]["rates"] != [[]]


@pytest.mark.parametrize("shows_the_key", [False, True])
def test_leases_are_returned_only_by_the_service_that_holds_them(send, make_key, limits, shows_the_key):
    key, token = make_key("ours")
    all_of_it = {"acquire": [{"limit": f"{limits['per_key']}:{key.id}", "units": 5, "waiting": 5}]}
    (grant,) = send("shop", number=7, **look_up(key, token), **all_of_it)["grants"]
    assert grant["units"] == 5
    lease = grant["lease"]
    shown = look_up(key, token) if shows_the_key else {}
    send("search", **shown, lost=[{"first": 0, "last": 100}])
    send("search", **{"return": [{"lease": lease, "used": 0}]})
    send("search", **{"return": [{"lease": lease, "unspent": 5}]})
    assert send("shop", number=8, **all_of_it)["grants"] == []
    send("shop", number=9, **{"return": [{"lease": lease, "unspent": 5}]})
    assert [one["units"] for one in send("shop", number=10, **all_of_it)["grants"]] == [5]


@pytest.fixture
def fifty_thousand(connection, make_key):
    """Create a key in an account with very many: "few" looked up only it, "many" all, "none" another account's."""
    key, _ = make_key("large")
    other, _ = make_key("other")
    connection.execute(
        "INSERT INTO key (id, account_id, name) SELECT 'k' || n, %s, 'key' FROM generate_series(1, 50000) AS n",
        (key.account_id,),
    )
    service_keys.add(connection, "few", [key.id])
    service_keys.add(connection, "none", [other.id])
    service_keys.add(connection, "many", [row["id"] for row in connection.execute("SELECT id FROM key")])
    connection.execute("VACUUM ANALYZE key, service_key, service_account, account")
    return key


@pytest.mark.parametrize("service", ["few", "many", "none"])
def test_limits_of_a_service_are_found_without_reading_all_keys(connection, fifty_thousand, limits, service):
    key = fifty_thousand
    of_account, of_key = f"{limits['rpm']}:{key.account_id}", f"{limits['per_key']}:{key.id}"
    others = [(service, f"{limits['per_key']}:k{number}") for number in range(100)]
    with count_rows(connection) as rows:
        found = lease_rows.open_limits(connection, [(service, of_account), (service, of_key), *others], heartbeats=1)
        assert ((service, of_account) in found, (service, of_key) in found) == (service != "none",) * 2
        service_keys.accounts_of(connection, service, [key.account_id, *map(str, range(100))])
        service_keys.plans_of(connection, service, ["free"])
        service_keys.of_plans(connection, service, ["free"], most=10)
    assert max(rows.values()) < 1_000, rows
