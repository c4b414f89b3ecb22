from datetime import date

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from keygauge.protocol import Acquisition, Return
from keygauge.weights import Weights
from keygauge_keyservice.accounts import accounts, plans
from keygauge_keyservice.keys import keys
from keygauge_keyservice.limits import leases
from keygauge_keyservice.limits.periods import ANCHORED, Periods
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
    """Take units of a limit and spend them; return how many were granted."""
    number = next(limit.id for limit in plans.require(connection, plan_id).limits if limit.name == name)
    wanted = [Acquisition(f"{number}:{subject}", units, units)]
    with connection.transaction():
        asked = leases.LeaseRequest(service=None, replica="r", acquisitions=wanted)
        (done,) = leases.exchange(connection, [asked], alive=1)
    connection.execute("UPDATE lease SET spent = units")
    return done.granted[0].grant.units


def used(connection, account):
    return {quota.name: quota.used for quota in find_quotas(connection, account.id)}


def test_usage_is_carried_to_another_plan_and_back(connection, account, key):
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


@given(
    period=st.sampled_from(ANCHORED),
    anchors=st.tuples(*[st.none() | st.dates(date(2025, 1, 1), date(2026, 12, 31))] * 2),
    zones=st.tuples(*[st.sampled_from([None, "Europe/Berlin"])] * 2),
    taken=st.integers(1, 50),
)
@example("month", (date(2025, 5, 31), date(2026, 1, 31)), (None, None), 43)
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_usage_is_carried_only_between_equal_periods(connection, account, period, anchors, zones, taken):
    with connection.transaction(force_rollback=True):
        for plan_id, anchor, zone in zip(("one", "two"), anchors, zones, strict=True):
            limit = plans.Limit(name=plan_id, unit="request", amount=50, period=period, anchor=anchor, zone=zone)
            plans.create(connection, plan_id=plan_id, name=plan_id, limits=[limit], actor="test")
        accounts.change_plan(connection, account.id, "one", actor="test")
        ask(connection, "one", "one", account.id, taken)
        accounts.change_plan(connection, account.id, "two", actor="test")
        phases = {Periods(period, anchor).phase for anchor in anchors}
        is_same = len(phases) == len(set(zones)) == 1
        assert used(connection, account) == {"two": taken if is_same else 0}
        assert ask(connection, "two", "two", account.id, 50) == (50 - taken if is_same else 50)


@pytest.mark.parametrize("limit", ["monthly", "per_key", "rpm"])
def test_held_units_come_back_to_the_new_limit(connection, account, key, limit):
    later = {"monthly": "requests_a_month", "per_key": "daily_tokens", "rpm": "fast"}[limit]
    subject = key.id if limit == "per_key" else account.id
    amount = {"monthly": 20_000, "per_key": 20, "rpm": 100}[limit]
    ask(connection, "free", limit, subject, 10)
    lease_id = connection.execute("UPDATE lease SET spent = 4 RETURNING id").fetchone()["id"]
    accounts.change_plan(connection, account.id, "pro", actor="test")
    if limit != "rpm":
        assert used(connection, account)[later] == 4
    with connection.transaction():
        back = [Return(str(lease_id), unspent=6)]
        leases.exchange(connection, [leases.LeaseRequest(service=None, replica="r", returns=back)], alive=1)
    if limit != "rpm":
        assert used(connection, account)[later] == 4
    assert ask(connection, "pro", later, subject, amount) == amount - 4


@pytest.mark.parametrize("later", ["one", "two"])
@pytest.mark.parametrize(("old", "new"), [(400, 800), (800, 400), (400, 400)])
def test_a_smooth_rate_keeps_its_units_at_another_pace(connection, account, old, new, later):
    for plan_id, amount in (("one", old), ("two", new)):
        even = plans.Limit(name="even", unit="request", amount=amount, window_s=86_400, smooth=True)
        plans.create(connection, plan_id=plan_id, name=plan_id, limits=[even], actor="test")
    accounts.change_plan(connection, account.id, "one", actor="test")
    assert ask(connection, "one", "even", account.id, 2) == 2
    lease_id = connection.execute("SELECT id FROM lease").fetchone()["id"]
    assert ask(connection, "one", "even", account.id, 4) == 4  # none of these come back
    if later == "one":
        plans.replace_limits(connection, "one", [even], actor="test")
    else:
        accounts.change_plan(connection, account.id, later, actor="test")
    assert ask(connection, later, "even", account.id, new) == new // 40 - 6
    for _ in range(2):
        with connection.transaction():
            back = [Return(str(lease_id), unspent=1)]
            leases.exchange(connection, [leases.LeaseRequest(service=None, replica="r", returns=back)], alive=1)
    assert ask(connection, later, "even", account.id, new) == 1


def test_calls_in_progress_keep_their_slots(connection, account):
    for plan_id in ("one", "two"):
        slots = plans.Limit(name="slots", unit="concurrent", amount=3)
        plans.create(connection, plan_id=plan_id, name=plan_id, limits=[slots], actor="test")
    accounts.change_plan(connection, account.id, "one", actor="test")
    assert ask(connection, "one", "slots", account.id, 2) == 2
    accounts.change_plan(connection, account.id, "two", actor="test")
    assert ask(connection, "two", "slots", account.id, 3) == 1


def test_usage_survives_a_plan_in_between_without_such_a_limit(connection, account):
    ask(connection, "free", "monthly", account.id, 5)
    accounts.change_plan(connection, account.id, "pro", actor="test")
    ask(connection, "pro", "requests_a_month", account.id, 40)
    for plan_id in ("none", "free"):
        accounts.change_plan(connection, account.id, plan_id, actor="test")
    assert used(connection, account)["monthly"] == 45
    assert ask(connection, "free", "monthly", account.id, 10) == 5


def test_a_plan_without_such_a_limit_does_not_reset_usage(connection, account):
    ask(connection, "free", "monthly", account.id, 43)
    accounts.change_plan(connection, account.id, "none", actor="test")
    accounts.change_plan(connection, account.id, "free", actor="test")
    assert used(connection, account)["monthly"] == 43


def test_usage_of_a_weighted_unit_is_carried_if_the_weights_are_equal(connection, account):
    for plan_id, output in (("one", 4), ("two", 4), ("three", 5)):
        limit = plans.Limit(
            name="points",
            unit="weighted",
            amount=50,
            period="month",
            weights=Weights(input=1, output=output),
            unit_name="points",
        )
        plans.create(connection, plan_id=plan_id, name=plan_id, limits=[limit], actor="test")
    accounts.change_plan(connection, account.id, "one", actor="test")
    ask(connection, "one", "points", account.id, 43)
    for plan_id, left in (("two", 43), ("three", 0)):
        accounts.change_plan(connection, account.id, plan_id, actor="test")
        assert used(connection, account) == {"points": left}


def test_the_highest_usage_of_limits_with_the_same_measure_counts(connection, account):
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


def test_a_renamed_limit_keeps_its_usage(connection, account):
    ask(connection, "free", "monthly", account.id, 43)
    renamed = [
        plans.Limit(name="rpm", unit="request", amount=70, period="month"),  # a name that another limit had
        plans.Limit(name="per_minute", unit="request", amount=60, window_s=60),
        plans.Limit(name="second", unit="request", amount=70, period="month"),
    ]
    plans.replace_limits(connection, "free", renamed, actor="test")
    assert used(connection, account) == {"rpm": 43, "second": 0}
    assert [limit.name for limit in plans.require(connection, "free").limits] == ["rpm", "per_minute", "second"]
