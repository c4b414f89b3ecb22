import pytest

from keygauge_keyservice.accounts import accounts, plans
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.keys import key_limits, keys
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


def test_a_customer_cannot_remove_or_raise_an_operators_limit(connection, key):
    key_limits.replace(connection, key.id, [RPM], actor="operator", by_operator=True)
    for wished in ([], [DAILY], [Limit(name="rpm", unit="request", amount=6, window_s=60, subject="key")]):
        with refused():
            key_limits.replace(connection, key.id, wished, actor="ada")
    assert [limit.name for limit in key_limits.replace(connection, key.id, [RPM, DAILY], actor="ada")] == [
        "rpm",
        "daily",
    ]
    assert [limit.name for limit in key_limits.replace(connection, key.id, [RPM], actor="ada")] == ["rpm"]
    assert key_limits.replace(connection, key.id, [], actor="operator", by_operator=True) == []
