"""Only an operator can lift a restriction set by an operator."""

import pytest

from keygauge_keyservice.accounts import accounts, plans
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.keys import keys
from keygauge_keyservice.limits.definitions import Limit

RPM = Limit(name="rpm", unit="request", amount=5, window_s=60, subject="key")
DAILY = Limit(name="daily", unit="request", amount=50, period="day", subject="key")


@pytest.fixture
def key(connection, settings):
    plans.create(connection, plan_id="free", name="Free", limits=[], actor="test")
    account = accounts.create(connection, name="Acme", plan_id="free", actor="test")
    return keys.create(connection, peppers=settings.peppers, account_id=account.id, name="live", actor="ada")[0]


def refused():
    return pytest.raises(Problem, match="operator")


def test_a_customer_cannot_enable_a_key_disabled_by_an_operator(connection, key):
    keys.set_status(connection, key.id, "disabled", actor="operator", by_operator=True)
    with refused():
        keys.set_status(connection, key.id, "active", actor="ada")
    assert keys.require(connection, key.id).status == "disabled"
    keys.set_status(connection, key.id, "active", actor="operator", by_operator=True)
    keys.set_status(connection, key.id, "disabled", actor="ada")
    assert keys.set_status(connection, key.id, "active", actor="ada").status == "active"


def test_disabling_a_disabled_key_locks_it(connection, key):
    keys.set_status(connection, key.id, "disabled", actor="ada")
    keys.set_status(connection, key.id, "disabled", actor="operator", by_operator=True)
    with refused():
        keys.set_status(connection, key.id, "active", actor="ada")


@pytest.mark.parametrize(
    ("set_by_operator", "wished"),
    [
        ({"networks": ["192.0.2.0/24"]}, {"networks": []}),
        ({"models": ["gpt-4o-mini"]}, {"models": ["gpt-4o-mini", "gpt-4o"]}),
        ({"routes": ["/v1/models"]}, {"routes": ["/*"]}),
    ],
)
def test_a_customer_cannot_widen_an_operators_restriction(connection, key, set_by_operator, wished):
    keys.change(connection, key.id, actor="operator", by_operator=True, **set_by_operator)
    with refused():
        keys.change(connection, key.id, actor="ada", **wished)
    assert keys.change(connection, key.id, actor="ada", name="renamed").name == "renamed"
    keys.change(connection, key.id, actor="operator", by_operator=True, **{name: [] for name in set_by_operator})
    keys.change(connection, key.id, actor="ada", **wished)


def test_keys_disabled_over_the_api_are_locked(client, operator, connection, key):
    answer = client.patch(f"/v1/keys/{key.id}", json={"status": "disabled"}, headers=operator)
    assert answer.status_code == 200
    with refused():
        keys.set_status(connection, key.id, "active", actor="ada")
    assert client.patch(f"/v1/keys/{key.id}", json={"status": "active"}, headers=operator).json["status"] == "active"
