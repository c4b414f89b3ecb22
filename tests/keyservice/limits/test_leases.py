from concurrent.futures import ThreadPoolExecutor

import pytest

from keygauge.protocol import Acquisition, Hold, Lost, Progress, Return
from keygauge_keyservice import database
from keygauge_keyservice.accounts import accounts, plans
from keygauge_keyservice.limits import leases
from keygauge_keyservice.limits.grant import Grant
from keygauge_keyservice.limits.leases import LeaseRequest
from keygauge_keyservice.sync import service_keys

LIMITS = [
    plans.Limit(name="daily", unit="request", amount=10, period="day"),
    plans.Limit(name="slots", unit="concurrent", amount=4),
]


@pytest.fixture
def limits(connection):
    plans.create(connection, plan_id="p", name="P", limits=LIMITS, actor="test")
    account = accounts.create(connection, name="Acme", plan_id="p", actor="test")
    return {limit.name: f"{limit.id}:{account.id}" for limit in plans.require(connection, "p").limits}


@pytest.fixture
def exchange(connection, limits):
    def exchange(*asked, alive=1):
        with connection.transaction():
            return leases.exchange(connection, [LeaseRequest(service=None, **one) for one in asked], alive=alive)

    return exchange


@pytest.fixture
def alive(connection):
    def alive(*names):
        for name in names:
            connection.execute(
                "INSERT INTO replica (id, service, host, version, mode, started_at, seen_at) "
                "VALUES (%s, 's', 'h', '1', 'enforce', now(), now())",
                (name,),
            )

    return alive


def want(limit, units):
    return [Acquisition(limit, units, units)]


def test_concurrent_requests_do_not_exceed_the_limit(exchange, limits):
    asked = [{"replica": name, "acquisitions": want(limits["daily"], 6)} for name in ("r1", "r2", "r3")]
    granted = [one.granted[0].grant.units for one in exchange(*asked, alive=3)]
    granted += [exchange(one, alive=3)[0].granted[0].grant.units for one in asked]
    assert sum(granted) == 10
    assert exchange(asked[0])[0].granted[0].lease_id is None


def test_repeated_returns_count_once(exchange, limits):
    ((given,),) = (one.granted for one in exchange({"replica": "r1", "acquisitions": want(limits["daily"], 10)}))
    back = {"replica": "r1", "returns": [Return(str(given.lease_id), unspent=4)]}
    for _ in range(2):
        exchange(back)
    ((again,),) = (one.granted for one in exchange({"replica": "r1", "acquisitions": want(limits["daily"], 10)}))
    assert again.grant.units == 4


def test_limits_of_keys_cost_the_same_with_many_keys(connection, limits):
    account = limits["daily"].partition(":")[2]
    each = plans.Limit(name="each", unit="request", amount=10, period="day", subject="key")
    plans.replace_limits(connection, "p", [each], actor="test")
    connection.execute(
        "INSERT INTO key (id, account_id, name) SELECT 'k' || n, %s, 'key' FROM generate_series(1, 3000) AS n",
        (account,),
    )
    service_keys.add(connection, "s", [f"k{number}" for number in range(1, 3001)])
    connection.execute("ANALYZE key, service_key")
    (limit,) = plans.require(connection, "p").limits
    wanted = [Acquisition(f"{limit.id}:k{number}", 1) for number in range(2900, 3000)]
    with connection.transaction():
        (told,) = leases.exchange(connection, [LeaseRequest(service="s", replica="r1", acquisitions=wanted)], alive=1)
        read = connection.execute(
            "SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) AS rows FROM pg_stat_xact_user_tables "
            "WHERE relname IN ('key', 'service_key')"
        ).fetchone()["rows"]
    assert [one.grant.units for one in told.granted] == [1] * 100
    assert read < 10_000  # all keys once, not once per limit


@pytest.mark.parametrize("name", ["daily", "slots"])
def test_grants_of_lost_answers_come_back(exchange, limits, name):
    for heartbeat in (3, 4, 5):
        exchange({"replica": "r1", "heartbeat": heartbeat, "acquisitions": want(limits[name], 1)})
    exchange({"replica": "r2", "heartbeat": 4, "acquisitions": want(limits[name], 1)})
    whole = next(limit.amount for limit in LIMITS if limit.name == name)
    asked = {"replica": "r1", "acquisitions": want(limits[name], whole)}
    told = [{"heartbeat": 6, "lost": [Lost(1, 3), Lost(5, 5)]}, {"heartbeat": 7, "lost": [Lost(1, 3), Lost(5, 6)]}]
    assert [exchange(asked | one)[0].granted[0].grant.units for one in told] == [whole - 2] * 2


def test_replicas_cannot_return_leases_of_others(exchange, limits):
    ((given,),) = (one.granted for one in exchange({"replica": "r1", "acquisitions": want(limits["daily"], 10)}))
    exchange({"replica": "r2", "returns": [Return(str(given.lease_id), unspent=10)]})
    ((none,),) = (one.granted for one in exchange({"replica": "r2", "acquisitions": want(limits["daily"], 1)}))
    assert none.grant.units == 0


def test_slots_are_renewed_only_by_their_holders(exchange, limits):
    ((given,),) = (one.granted for one in exchange({"replica": "r1", "acquisitions": want(limits["slots"], 3)}))
    hold = [Hold(str(given.lease_id), given.grant.units)]
    kept = exchange({"replica": "r1", "holds": hold}, {"replica": "r2", "holds": hold})
    assert [[item.lease_id for item in one.kept] for one in kept] == [[str(given.lease_id)], []]


def test_invalid_limit_and_lease_ids_are_ignored(exchange, limits):
    (told,) = exchange(
        {
            "replica": "r1",
            "acquisitions": [Acquisition(text, 1) for text in ("", "x", "1", "1:", "-1:a", "9" * 19 + ":a", "1:a b")],
            "returns": [Return(text, unspent=1) for text in ("", "x", "-1", "9" * 19, "1 ")],
            "holds": [Hold("x", 1)],
        }
    )
    assert (told.granted, told.kept, told.wanted) == ((), (), ())


@pytest.mark.parametrize(
    ("told", "soon"),
    [
        ((0, 0), {"r2"}),  # the other replica may not spend what it holds
        ((10, 0), set()),
        ((10, 1), {"r1", "r2"}),
        ((9, 1), {"r1", "r2"}),
    ],
)
def test_units_held_by_others_or_reserved_by_calls_may_come_back(exchange, limits, alive, told, soon):
    alive("r1", "r2")
    ((given,),) = (one.granted for one in exchange({"replica": "r1", "acquisitions": want(limits["daily"], 10)}))
    progress = [Progress(str(given.lease_id), *told)]
    asked = [{"replica": name, "acquisitions": want(limits["daily"], 1)} for name in ("r1", "r2")]
    answers = exchange(asked[0] | {"progress": progress}, asked[1])
    assert {name for name, one in zip(("r1", "r2"), answers, strict=True) if one.granted[0].is_soon} == soon


def test_a_call_that_needs_more_than_may_come_back_does_not_wait(exchange, limits, alive):
    alive("r1", "r2")
    exchange({"replica": "r1", "acquisitions": want(limits["daily"], 7)})
    for least, soon in ((11, False), (10, True)):
        asked = {"replica": "r2", "acquisitions": [Acquisition(limits["daily"], least, least, least)]}
        ((part,),) = (one.granted for one in exchange(asked))
        assert part.is_soon is soon
        assert list(exchange({"replica": "r1"})[0].wanted) == [limits["daily"]] * soon
        exchange({"replica": "r2", "returns": [Return(str(part.lease_id), unspent=3)]})


def test_a_silent_replica_is_not_expected_to_give_back(exchange, limits, alive):
    alive("r2")
    exchange({"replica": "r1", "acquisitions": want(limits["daily"], 10)})
    ((none,),) = (one.granted for one in exchange({"replica": "r2", "acquisitions": want(limits["daily"], 1)}))
    assert not none.is_soon


def test_calls_lack_units_if_the_grant_is_too_small_and_no_more_comes_soon():
    def grant(units, reset_us):
        return Grant(None, units, 0, 0, reset_us)

    asked = Acquisition("1:a", 5, 3)
    assert leases.lacks(grant(2, 2_000_000), asked)
    assert not leases.lacks(grant(3, 2_000_000), asked)
    assert not leases.lacks(grant(2, 1_000_000), asked)
    assert leases.lacks(grant(0, 2_000_000), Acquisition("1:a", 5, 0))


@pytest.mark.parametrize("per_tag", [False, True])
def test_a_limit_deleted_in_the_meantime_is_not_denied(connection, database_url, per_tag):
    """A replica that is denied units refuses calls; without an answer, it uses the current plan."""
    rpm = plans.Limit(name="rpm", unit="request", amount=10, window_s=60, per_tag=per_tag)
    plans.create(connection, plan_id="r", name="R", limits=[rpm], actor="test")
    account = accounts.create(connection, name="Acme", plan_id="r", actor="test")
    name = f"{plans.require(connection, 'r').limits[0].id}:{account.id}" + (":" + "0" * 32 if per_tag else "")
    asked = LeaseRequest(service=None, replica="r1", acquisitions=want(name, 1))
    with connection.transaction():
        assert leases.exchange(connection, [asked], alive=1)[0].granted[0].lease_id
    with database.connect(database_url) as changing, database.connect(database_url) as asking:

        def exchange():
            with asking.transaction():
                return leases.exchange(asking, [asked], alive=1)

        with ThreadPoolExecutor(1) as thread:
            with changing.transaction():
                plans.replace_limits(changing, "r", [], actor="test")
                exchanged = thread.submit(exchange)
                await_lock(connection, asking)
            assert not exchanged.result()[0].granted


def await_lock(connection, waiting):
    while not connection.execute(
        "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND wait_event_type = 'Lock'", (waiting.info.backend_pid,)
    ).fetchone():
        pass
