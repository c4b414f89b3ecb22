"""Use before a quota's counter was created counts, as far as the ledger knows it, and never twice."""

import hashlib
import time
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keygauge.protocol import Acquisition, Return
from keygauge.weights import Weights
from keygauge_keyservice.accounts import accounts, plans
from keygauge_keyservice.keys import key_limits, keys
from keygauge_keyservice.ledger import ingest
from keygauge_keyservice.limits import definitions, leases
from keygauge_keyservice.pricing.cost import Cost
from keygauge_keyservice.secret import Peppers
from keygauge_keyservice.sync import service_keys
from keygauge_keyservice.usage import earlier_use
from keygauge_keyservice.usage.quota import find_quotas

pytestmark = pytest.mark.usefixtures("metered")

PEPPERS = Peppers.parse("1:" + "11" * 32)
POINTS = Weights(request=10, input=1, output=4)


def limit(name="quota", unit="request", amount=100_000, period="year", **terms):
    return plans.Limit(name=name, unit=unit, amount=amount, period=period, **terms)


@dataclass
class Ledger:
    """Calls that arrive in the ledger, or later, from a spool."""

    connection: object
    make_line: object
    spool: str = "s"
    waiting: list = field(default_factory=list)
    taken: int = 0

    def call(self, calls=1, **fields):
        line = self.make_line(time_us=time.time_ns() // 1_000, **fields)
        self.waiting += [line] * calls

    def ship(self):
        receipt = ingest.take_batch(self.connection, self.spool, self.taken, self.waiting, lambda _: Cost(7, "test"))
        assert not receipt.refused
        self.taken, self.waiting = receipt.next, []


@pytest.fixture
def ledger(connection, make_line):
    return Ledger(connection, make_line)


def ask(connection, limit_id, units, *, returns=()):
    """Take units of a limit; return the lease's number and units, or None without an answer."""
    asked = leases.LeaseRequest(
        service=None, replica="r", acquisitions=[Acquisition(limit_id, units, units)], returns=returns
    )
    with connection.transaction():
        (done,) = leases.exchange(connection, [asked], alive=1, earlier_use=earlier_use.find)
    return [(one.lease_id, one.grant.units) for one in done.granted]


def left(connection, limit_id):
    """Return what is left of a limit, without using it."""
    ((lease_id, units),) = ask(connection, limit_id, 10**6)
    asked = leases.LeaseRequest(service=None, replica="r", returns=[Return(str(lease_id), units)])
    with connection.transaction():
        leases.exchange(connection, [asked], alive=1, earlier_use=earlier_use.find)
    return units


def set_limits(connection, *limits):
    """Replace the plan's limits; return the ids of their counters."""
    plans.replace_limits(connection, "ledger", limits, actor="test")
    found = plans.require(connection, "ledger").limits
    return [f"{one.id}:{'acme' if one.subject == 'account' else 'acme-live'}" for one in found]


def shown(connection, key_id=None, account_id="acme"):
    return {one.name: one.used for one in find_quotas(connection, account_id, key_id=key_id)}


@pytest.mark.parametrize(
    ("terms", "used"),
    [
        ({}, 8),
        ({"period": "lifetime"}, 8),
        ({"period": "hour"}, 8),
        ({"subject": "key"}, 5),
        ({"unit": "token"}, 9 * 300),
        ({"unit": "input_token", "subject": "key"}, 6 * 100),
        ({"unit": "output_token"}, 9 * 200),
        ({"unit": "nanousd"}, 9 * 7),
        ({"unit": "weighted", "weights": POINTS, "unit_name": "points"}, 8 * 10 + 9 * (100 + 800)),
        ({"model": "o3"}, 1),
        ({"model": "gpt-4*"}, 7),
        ({"model": "gpt-4*", "subject": "key"}, 4),
        ({"route": "/v1/*"}, 7),
        ({"route": "/other", "subject": "key"}, 1),
        ({"tool": "search"}, 0),
    ],
)
def test_a_limit_added_in_mid_period_counts_earlier_use(connection, ledger, terms, used):
    ledger.call(3)
    ledger.call(outcome="part")
    ledger.call(2, key="acme-test")
    ledger.call(key="acme-test", outcome="degraded")
    ledger.call(route="/other")
    ledger.call(model="o3", outcome="would_limit")
    for outcome in ("limited", "quota", "forbidden", "expired", "unavailable"):
        ledger.call(outcome=outcome, status=403, input_tokens=None, output_tokens=None, cache_read_tokens=None)
    ledger.call(4, account="beta", key="beta-live")
    ledger.ship()
    if terms.get("unit") == "nanousd":
        used += 5 * 7  # this test's price is per event
    (name,) = set_limits(connection, limit(**terms))
    key_id = "acme-live" if terms.get("subject") == "key" else None
    assert shown(connection, key_id)["quota"] == used
    assert left(connection, name) == 100_000 - used
    ledger.call(3)
    ledger.ship()
    assert left(connection, name) == 100_000 - used  # calls after that count by their leases
    assert shown(connection, key_id)["quota"] == used


def test_a_tags_counter_begins_with_nothing(connection, ledger):
    ledger.call(3, tag="ada")
    ledger.ship()
    (name,) = set_limits(connection, limit(per_tag=True))
    for counter in (name, f"{name}:{hashlib.sha256(b'ada').hexdigest()[:32]}"):
        assert left(connection, counter) == 100_000


def test_use_of_the_last_period_does_not_count(connection, ledger):
    ledger.waiting = [ledger.make_line(time_us=(time.time_ns() - 2 * 86_400 * 10**9) // 1_000)] * 3
    ledger.ship()
    day, total = set_limits(connection, limit("day", period="day"), limit("total", period="lifetime"))
    assert (left(connection, day), left(connection, total)) == (100_000, 100_000 - 3)


def test_a_key_limit_that_was_removed_and_set_again_goes_on(connection, ledger):
    for calls, used in ((4, 0), (6, 4), (1, 10)):
        key_limits.replace(connection, "acme-live", [limit(subject="key")], actor="test")
        name = f"{definitions.of_keys(connection, ['acme-live'])['acme-live'][0].id}:acme-live"
        assert shown(connection, "acme-live") == {"quota": used}
        assert left(connection, name) == 100_000 - used
        ask(connection, name, calls)
        ledger.call(calls)
        ledger.ship()
        key_limits.replace(connection, "acme-live", [], actor="test")


def test_an_account_that_returns_to_a_plan_keeps_the_use_in_between(connection, ledger):
    (name,) = set_limits(connection, limit())
    ask(connection, name, 10)
    ledger.call(10)
    plans.create(connection, plan_id="other", name="other", limits=[limit("month", period="month")], actor="test")
    accounts.change_plan(connection, "acme", "other", actor="test")
    ledger.call(5)
    ledger.ship()
    accounts.change_plan(connection, "acme", "ledger", actor="test")
    connection.execute("UPDATE lease SET spent = units")
    assert shown(connection) == {"quota": 15}
    assert left(connection, name) == 100_000 - 15


def test_an_exhausted_quota_stays_exhausted_under_another_period(connection, ledger):
    ledger.call(20)
    ledger.ship()
    (name,) = set_limits(connection, limit(amount=15))
    assert ask(connection, name, 1) == [(None, 0)]
    assert shown(connection) == {"quota": 20}


def test_the_ledger_is_asked_once_even_if_nothing_is_granted(connection, ledger):
    (name,) = set_limits(connection, limit(amount=10))
    ask(connection, name, 10)
    plans.create(connection, plan_id="other", name="other", limits=[], actor="test")
    for plan_id in ("other", "ledger"):
        accounts.change_plan(connection, "acme", plan_id, actor="test")
    connection.execute("UPDATE lease SET spent = units")
    asked = []

    def find(connection, rows, now_us):
        asked.extend(row["id"] for row in rows)
        return earlier_use.find(connection, rows, now_us)

    request = leases.LeaseRequest(service=None, replica="r", acquisitions=[Acquisition(name, 1, 1)])
    for _ in range(3):
        with connection.transaction():
            (done,) = leases.exchange(connection, [request], alive=1, earlier_use=find)
        assert [one.grant.units for one in done.granted] == [0]
    assert asked == [name]


def test_beyond_a_number_of_accounts_counters_wait_for_the_next_heartbeat(connection, ledger, monkeypatch):
    monkeypatch.setattr(earlier_use, "_ACCOUNTS_MAX", 1)
    ledger.call(3)
    ledger.call(4, account="beta", key="beta-live")
    ledger.ship()
    (acme,) = set_limits(connection, limit())
    beta = acme.replace("acme", "beta")
    asked = leases.LeaseRequest(
        service=None, replica="r", acquisitions=[Acquisition(name, 10**6, 1) for name in (acme, beta)]
    )
    answers = []
    for _ in range(2):
        with connection.transaction():
            (done,) = leases.exchange(connection, [asked], alive=1, earlier_use=earlier_use.find)
        answers.append({one.limit_id: one.grant.units for one in done.granted})
    assert answers == [{acme: 100_000 - 3}, {acme: 0, beta: 100_000 - 4}]


PLANS = {
    "day": [limit("day", period="day")],
    "month": [limit("month", period="month"), limit("total", period="lifetime")],
    "both": [limit("a_day", period="day"), limit("a_month", period="month")],
    "none": [],
}


@pytest.fixture
def changing(connection):
    for name, limits in PLANS.items():
        plans.create(connection, plan_id=name, name=name, limits=limits, actor="test")


@given(
    steps=st.lists(st.sampled_from([*PLANS, 1, 5, "ship"]), max_size=12),
    is_shipped=st.booleans(),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@pytest.mark.usefixtures("changing")
def test_no_call_counts_twice_and_only_those_in_spools_are_left_out(connection, make_line, steps, is_shipped):
    """Calls take units of all quotas of their plan; they end before a plan changes, and may still be in a spool."""
    account = accounts.create(connection, name="Acme", plan_id="none", actor="test")
    key, _ = keys.create(connection, peppers=PEPPERS, account_id=account.id, name="prod", actor="test")
    service_keys.add(connection, "", [key.id])
    ledger, plan_id, made, since = Ledger(connection, make_line, spool=key.id), "none", 0, 0
    for step in [*steps, "both", "month", "day"]:
        if step == "ship":
            ledger.ship()
        elif step in PLANS:
            if is_shipped:
                ledger.ship()
            since = since if step == plan_id else 0
            plan_id = step
            accounts.change_plan(connection, account.id, plan_id, actor="test")
        else:
            made, since = made + step, since + step
            ledger.call(step, account=account.id, key=key.id)
            for one in plans.require(connection, plan_id).limits:
                ((_, units),) = ask(connection, f"{one.id}:{account.id}", step)
                assert units == step
            connection.execute("UPDATE lease SET spent = units")
        for used in shown(connection, account_id=account.id).values():
            assert used == made if is_shipped else since <= used <= made
