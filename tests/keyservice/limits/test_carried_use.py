import pytest

from keygauge.protocol import Acquisition
from keygauge_keyservice.accounts import accounts, plans
from keygauge_keyservice.keys import keys
from keygauge_keyservice.limits import leases
from keygauge_keyservice.secret import Peppers
from keygauge_keyservice.usage.quota import find_quotas

PEPPERS = Peppers.parse("1:" + "11" * 32)
FREE = [
    plans.Limit(name="monthly", unit="request", amount=50, period="month"),
    plans.Limit(name="per_key", unit="token", amount=10, period="day", subject="key"),
    plans.Limit(name="rpm", unit="request", amount=60, window_s=60),
]
PRO = [
    plans.Limit(name="requests_a_month", unit="request", amount=20_000, period="month"),
    plans.Limit(name="daily_tokens", unit="token", amount=20, period="day", subject="key"),
    plans.Limit(name="daily_requests", unit="request", amount=500, period="day"),
    plans.Limit(name="fast", unit="request", amount=100, window_s=60),
]


@pytest.fixture
def account(connection):
    for name, limits in (("free", FREE), ("pro", PRO), ("none", [])):
        plans.create(connection, plan_id=name, name=name, limits=limits, actor="test")
    return accounts.create(connection, name="Acme", plan_id="free", actor="test")


@pytest.fixture
def key(connection, account):
    made, _ = keys.create(connection, peppers=PEPPERS, account_id=account.id, name="prod", actor="test")
    return made


def ask(connection, plan_id, name, subject, units):
    """Take units of a limit and spend them; return how many there were."""
    number = next(limit.id for limit in plans.require(connection, plan_id).limits if limit.name == name)
    wanted = [Acquisition(f"{number}:{subject}", units, units)]
    with connection.transaction():
        asked = leases.Asked(service=None, replica="r", acquisitions=wanted)
        (done,) = leases.exchange(connection, [asked], alive=1)
    connection.execute("UPDATE lease SET spent = units")
    return done.granted[0].grant.units


def used(connection, account):
    return {quota.name: quota.used for quota in find_quotas(connection, account.id)}


def test_use_is_carried_to_another_plan_and_back(connection, account, key):
    ask(connection, "free", "monthly", account.id, 43)
    ask(connection, "free", "per_key", key.id, 10)
    ask(connection, "free", "rpm", account.id, 43)
    accounts.change_plan(connection, account.id, "pro", actor="test")
    assert used(connection, account) == {"requests_a_month": 43, "daily_tokens": 10, "daily_requests": 0}
    assert ask(connection, "pro", "daily_tokens", key.id, 15) == 10
    assert ask(connection, "pro", "fast", account.id, 100) == 57
    ask(connection, "pro", "requests_a_month", account.id, 5)
    accounts.change_plan(connection, account.id, "free", actor="test")
    assert used(connection, account) == {"monthly": 48, "per_key": 20}
    assert ask(connection, "free", "monthly", account.id, 10) == 2
    assert ask(connection, "free", "per_key", key.id, 1) == 0


def test_a_plan_without_such_a_limit_forgets_nothing(connection, account):
    ask(connection, "free", "monthly", account.id, 43)
    accounts.change_plan(connection, account.id, "none", actor="test")
    accounts.change_plan(connection, account.id, "free", actor="test")
    assert used(connection, account)["monthly"] == 43


def test_of_limits_that_measure_the_same_the_most_use_counts(connection, account):
    twice = [
        plans.Limit(name=name, unit="request", amount=90, period="month", dry_run=trial)
        for name, trial in (("a", True), ("b", False))
    ]
    plans.create(connection, plan_id="twice", name="twice", limits=twice, actor="test")
    accounts.change_plan(connection, account.id, "twice", actor="test")
    ask(connection, "twice", "a", account.id, 7)
    ask(connection, "twice", "b", account.id, 9)
    accounts.change_plan(connection, account.id, "pro", actor="test")
    assert used(connection, account)["requests_a_month"] == 9


def test_a_limit_of_a_plan_keeps_its_use_when_it_is_renamed(connection, account):
    ask(connection, "free", "monthly", account.id, 43)
    renamed = [
        plans.Limit(name="rpm", unit="request", amount=70, period="month"),  # a name that is passed on
        plans.Limit(name="per_minute", unit="request", amount=60, window_s=60),
        plans.Limit(name="second", unit="request", amount=70, period="month"),
    ]
    plans.replace_limits(connection, "free", renamed, actor="test")
    assert used(connection, account) == {"rpm": 43, "second": 0}
    assert [limit.name for limit in plans.require(connection, "free").limits] == ["rpm", "per_minute", "second"]
