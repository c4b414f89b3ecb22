import pytest

from keygauge_keyservice.accounts import accounts, plans
from keygauge_keyservice.limits import lease_rows

ONE, TWO = "1" * 32, "2" * 32
HOUR_US = 3_600_000_000


@pytest.fixture
def limit(connection):
    """Create two live replicas, and a limit that they may spend; return its id."""
    daily = plans.Limit(name="daily", unit="request", amount=10, period="day")
    plans.create(connection, plan_id="p", name="P", limits=[daily], actor="test")
    account = accounts.create(connection, name="Acme", plan_id="p", actor="test")
    for replica in (ONE, TWO):
        connection.execute(
            "INSERT INTO replica (id, service, host, version, mode, started_at, seen_at) "
            "VALUES (%s, 's', 'h', '1', 'enforce', now(), now())",
            (replica,),
        )
    id_ = f"{plans.require(connection, 'p').limits[0].id}:{account.id}"
    assert lease_rows.open_limits(connection, {(None, id_), (None, "999:nobody")}, heartbeats=1) == {(None, id_)}
    return id_


@pytest.fixture
def give(connection, limit):
    def give(units, replica=ONE, *, heartbeat=1, ends_in_us=HOUR_US):
        ends_us = lease_rows.now_us(connection) + ends_in_us
        given = lease_rows.hand_out(connection, [(limit, replica, heartbeat, 0, units, ends_us)])
        return given[replica, limit]

    return give


def held(connection, limit):
    return {one.replica: one.units for one in lease_rows.held(connection, [limit]).get(limit, [])}


def test_spent_units_are_not_held(connection, limit, give):
    one, _ = give(6), give(3, TWO)
    assert held(connection, limit) == {ONE: 6, TWO: 3}
    lease_rows.note_progress(connection, {(ONE, one): (4, 1), (TWO, one): (6, 0)})  # the other replica's own progress
    assert held(connection, limit) == {ONE: 2, TWO: 3}
    lease_rows.note_progress(connection, {(ONE, one): (99, 0)})
    assert held(connection, limit)[ONE] == 0


def test_a_lease_is_taken_back_once_and_only_from_its_replica(connection, limit, give):
    one = give(6)
    assert lease_rows.take_back(connection, [(TWO, one)]) == []
    [row] = lease_rows.take_back(connection, [(ONE, one)])
    assert (row["state_id"], row["units"]) == (limit, 6)
    assert lease_rows.take_back(connection, [(ONE, one)]) == []


def test_grants_of_lost_answers_come_back(connection, limit, give):
    for heartbeat in (3, 4, 5):
        give(heartbeat, heartbeat=heartbeat)
    give(9, TWO, heartbeat=4)
    assert [row["units"] for row in lease_rows.take_back_lost(connection, [(ONE, 4, 6)])] == [4, 5]
    assert held(connection, limit) == {ONE: 3, TWO: 9}


def test_a_shrunk_lease_keeps_what_calls_in_progress_may_give_back(connection, limit, give):
    one = give(6)
    [row] = lease_rows.shrink(connection, {(ONE, one): 4, (TWO, one): 0})
    assert (row["unspent"], row["replica"]) == (2, ONE)
    assert held(connection, limit) == {}  # it cannot be spent any more
    assert [row["unspent"] for row in lease_rows.shrink(connection, {(ONE, one): 1})] == [3]
    assert [row["units"] for row in lease_rows.take_back(connection, [(ONE, one)])] == [1]


def test_units_that_another_replica_lacks_are_called_back(connection, limit, give):
    give(6)
    assert lease_rows.call_back(connection, {(TWO, limit): 7}) == {(TWO, limit): 6}  # all of them would not be enough
    assert lease_rows.wanted(connection, [ONE, TWO]) == {}
    assert lease_rows.call_back(connection, {(TWO, limit): 6}) == {(TWO, limit): 6}
    assert lease_rows.wanted(connection, [ONE, TWO]) == {ONE: [limit]}


def test_leases_that_ended_long_ago_are_deleted_in_small_batches(connection, limit, give, monkeypatch):
    monkeypatch.setattr(lease_rows, "_PRUNED", 1)
    for ends_in_us in (-61_000_000, -61_000_000, -1_000_000):
        give(1, ends_in_us=ends_in_us)

    def left():
        lease_rows.open_limits(connection, set(), heartbeats=1)
        return connection.execute("SELECT count(*) AS n FROM lease").fetchone()["n"]

    assert [left(), left(), left()] == [2, 1, 1]
