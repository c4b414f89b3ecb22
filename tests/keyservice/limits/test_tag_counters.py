"""Counters of tags in PostgreSQL: created on first use, bounded, and deleted when they are over."""

from hashlib import sha256

import pytest

from keygauge.protocol import Acquisition, Return
from keygauge_keyservice import database
from keygauge_keyservice.accounts import accounts, plans
from keygauge_keyservice.keys import keys
from keygauge_keyservice.limits import leases, tag_counters
from keygauge_keyservice.secret import Peppers
from keygauge_keyservice.sync import heartbeat, service_keys
from keygauge_keyservice.usage import live_rates
from keygauge_keyservice.usage.quota import find_near, find_quotas

PEPPERS = Peppers.parse("1:" + "11" * 32)
DAILY = plans.Limit(name="daily", unit="request", amount=10, period="day", per_tag=True)
RPM = plans.Limit(name="rpm", unit="request", amount=10, window_s=60, per_tag=True)
SMOOTH = plans.Limit(name="smooth", unit="request", amount=600, window_s=60, smooth=True, per_tag=True)
AT_ONCE = plans.Limit(name="at_once", unit="concurrent", amount=3, per_tag=True)
TRIAL = plans.Limit(name="trial", unit="token", amount=50, period="lifetime", per_tag=True, subject="key")
PLAIN = plans.Limit(name="plain", unit="request", amount=500, period="day")
LIMITS = [DAILY, RPM, SMOOTH, AT_ONCE, TRIAL, PLAIN]


@pytest.fixture
def account(connection):
    plans.create(connection, plan_id="free", name="Free", limits=LIMITS, actor="test")
    plans.create(
        connection, plan_id="pro", name="Pro", limits=[plans.Limit(**_terms(DAILY) | {"amount": 20})], actor="test"
    )
    return accounts.create(connection, name="Acme", plan_id="free", actor="test")


@pytest.fixture
def key(connection, account):
    return keys.create(connection, peppers=PEPPERS, account_id=account.id, name="prod", actor="test")[0]


@pytest.fixture
def limits(connection, account, key):
    """Return the ids of the limits by name."""
    ids = {limit.name: limit.id for limit in plans.require(connection, "free").limits}
    return {name: f"{number}:{key.id if name == 'trial' else account.id}" for name, number in ids.items()}


def _terms(limit):
    return {name: value for name, value in vars(limit).items() if name != "id"}


def of_tag(limit, tag):
    return limit if tag is None else f"{limit}:{sha256(tag.encode()).hexdigest()[:32]}"


def exchange(connection, *wanted, returns=(), replica="r", service=None, alive=1):
    acquisitions = [Acquisition(limit, units, units) for limit, units in wanted]
    asked = leases.LeaseRequest(service=service, replica=replica, acquisitions=acquisitions, returns=returns)
    with connection.transaction():
        (done,) = leases.exchange(connection, [asked], alive=alive)
    return {item.limit_id: item for item in done.granted}


def ask(connection, limit, *tags, units=1, **options):
    """Request units for tags; return how many each got."""
    granted = exchange(connection, *((of_tag(limit, tag), units) for tag in tags), **options)
    return [granted[of_tag(limit, tag)].grant.units if of_tag(limit, tag) in granted else None for tag in tags]


def tags(connection, limit):
    """Return the actual number of counters of a limit, and the recorded number."""
    (kept,) = connection.execute("SELECT count(*) AS number FROM limit_state WHERE base = %s", (limit,)).fetchall()
    row = connection.execute("SELECT tags FROM limit_state WHERE id = %s", (limit,)).fetchone()
    return kept["number"], row["tags"] if row else 0


@pytest.mark.parametrize("name", ["daily", "rpm", "at_once", "trial"])
def test_each_tag_gets_the_whole_amount_and_calls_without_one_share_a_counter(connection, limits, name):
    amount = {"daily": 10, "rpm": 10, "at_once": 3, "trial": 50}[name]
    assert ask(connection, limits[name], "ada", "bob", None, units=amount) == [amount] * 3
    assert ask(connection, limits[name], "ada", "bob", None, "cat", units=amount) == [0, 0, 0, amount]
    assert tags(connection, limits[name]) == (3, 3)


def test_a_limit_without_per_tag_has_no_tag_counters(connection, limits):
    assert ask(connection, limits["plain"], "ada") == [None]
    assert ask(connection, limits["plain"], None) == [1]
    for wrong in ("x", "A" * 32, "0" * 31, "0" * 33, "\u0660" * 32):
        assert exchange(connection, (f"{limits['daily']}:{wrong}", 1)) == {}


def test_a_service_spends_only_tags_of_keys_that_it_has_looked_up(connection, limits, key):
    assert ask(connection, limits["daily"], "ada", service="api") == [None]
    service_keys.add(connection, "api", [key.id])
    assert ask(connection, limits["daily"], "ada", service="api") == [1]
    assert ask(connection, limits["trial"], "ada", service="api") == [1]


def test_new_tags_beyond_the_maximum_are_refused_and_known_ones_continue(connection, limits, monkeypatch):
    monkeypatch.setattr(tag_counters, "MOST", 5)
    first = [f"user {number}" for number in range(4)]
    assert ask(connection, limits["daily"], *first) == [1] * 4
    more = ask(connection, limits["daily"], *(f"new {number}" for number in range(10)))
    assert sorted(more) == [0] * 9 + [1]
    assert tags(connection, limits["daily"]) == (5, 5)
    assert ask(connection, limits["daily"], *first, None) == [1] * 5
    assert ask(connection, limits["rpm"], "another") == [1]  # has its own maximum
    (denied,) = exchange(connection, (of_tag(limits["daily"], "last"), 1)).values()
    assert heartbeat.denial(denied).retry_ms == 60_000
    assert tag_counters.full(connection) == [limits["daily"]]


def test_only_counters_that_are_over_are_deleted(connection, limits, key):
    names = ("daily", "rpm", "smooth", "at_once", "trial")
    for name in names:
        assert ask(connection, limits[name], "ada", "bob", None) == [1] * 3
    assert tag_counters.prune(connection) == 0
    hour_us = 3_600_000_000
    over = {name: of_tag(limits[name], "ada") for name in names}
    connection.execute(
        "UPDATE limit_state SET ends = ARRAY(SELECT moment - 48 * %s FROM unnest(ends) AS moment), "
        "head = head - 48 * %s WHERE id = ANY(%s)",
        (hour_us, hour_us, [over[name] for name in ("daily", "rpm", "smooth")]),
    )
    connection.execute("UPDATE lease SET ends_at = now() - interval '1 second' WHERE state_id = %s", (over["at_once"],))
    assert tag_counters.prune(connection) == 4
    for name in names:
        assert tags(connection, limits[name]) == ((2, 2) if name == "trial" else (1, 1))
        kept = connection.execute("SELECT FROM limit_replica WHERE state_id = %s", (over[name],)).fetchall()
        assert len(kept) == (name == "trial")
        assert connection.execute("SELECT FROM limit_state WHERE id = %s", (limits[name],)).fetchone() is not None
    assert ask(connection, limits["daily"], "ada", units=10) == [10]


def test_all_pages_are_checked(connection, limits, monkeypatch):
    monkeypatch.setattr(tag_counters, "_PAGE", 7)
    for name in ("daily", "rpm"):
        ask(connection, limits[name], *(str(number) for number in range(30)))
    connection.execute("UPDATE limit_state SET ends = '{1}' WHERE base IS NOT NULL AND id > base || ':8'")
    before = sum(tags(connection, limits[name])[0] for name in ("daily", "rpm"))
    pruned = tag_counters.prune(connection)
    assert 0 < pruned < before
    after = [tags(connection, limits[name]) for name in ("daily", "rpm")]
    assert sum(kept for kept, _ in after) == before - pruned
    assert all(kept == told for kept, told in after)


def test_a_counter_in_use_is_not_deleted(connection, limits, database_url):
    ask(connection, limits["daily"], "ada", "bob")
    connection.execute("UPDATE limit_state SET ends = '{1}' WHERE base IS NOT NULL")
    with database.connect(database_url) as other, other.transaction():
        other.execute("SELECT FROM limit_state WHERE id = %s FOR UPDATE", (of_tag(limits["daily"], "ada"),))
        assert tag_counters.prune(connection) == 1
    assert tags(connection, limits["daily"]) == (1, 1)


def test_a_deleted_counter_is_created_again_on_the_next_request(connection, limits, monkeypatch):
    def delete(connection, wanted):
        connection.execute("DELETE FROM limit_state WHERE base IS NOT NULL")
        return lock(connection, wanted)

    ask(connection, limits["daily"], "ada")
    lock = leases.lease_rows.lock
    with monkeypatch.context() as patched:
        patched.setattr(leases.lease_rows, "lock", delete)
        assert not exchange(connection, (of_tag(limits["daily"], "ada"), 1))  # not even denied: its calls ask again
    assert ask(connection, limits["daily"], "ada") == [1]


def test_usage_of_each_tag_is_carried_to_another_plan(connection, account, limits):
    assert ask(connection, limits["daily"], "ada", None, units=8) == [8, 8]
    accounts.change_plan(connection, account.id, "pro", actor="test")
    (later,) = plans.require(connection, "pro").limits
    of_later = f"{later.id}:{account.id}"
    assert ask(connection, of_later, "ada", "bob", None, units=20) == [12, 20, 12]
    assert tags(connection, of_later) == (2, 2)


def test_returned_units_count_for_their_tag(connection, limits):
    (given,) = exchange(connection, (of_tag(limits["daily"], "ada"), 10)).values()
    exchange(connection, returns=[Return(str(given.lease_id), 4)])
    assert ask(connection, limits["daily"], "ada", "bob", units=10) == [4, 10]


def test_a_limit_per_tag_has_no_total_figures(connection, account, key, limits):
    for limit in (limits["daily"], limits["trial"]):
        ask(connection, limit, "ada", None, units=10)
    assert {quota.name for quota in find_quotas(connection, account.id)} == {"plain"}
    assert find_near(connection, account.id, share=0, most=10) == []
    assert live_rates.find_live_rates(connection, account.id).rates == ()
    assert connection.execute("SELECT FROM grafana.quota WHERE limit_name = 'daily'").fetchall() == []


def test_a_deleted_limit_deletes_its_counters(connection, limits):
    ask(connection, limits["daily"], "ada", None)
    plans.replace_limits(connection, "free", [RPM], actor="test")
    assert connection.execute("SELECT FROM limit_state WHERE id LIKE %s", (limits["daily"] + "%",)).fetchall() == []
