import pytest

from keygauge.protocol import PROGRESS_S, Acquisition, Progress, Unused
from keygauge_keyservice.accounts import accounts, plans
from keygauge_keyservice.limits import followed, leases
from keygauge_keyservice.limits.leases import LeaseRequest

LIMITS = [
    plans.Limit(name="daily", unit="request", amount=1000, period="day"),
    plans.Limit(name="hourly", unit="request", amount=1000, window_s=3600),
    plans.Limit(name="short", unit="request", amount=1000, window_s=PROGRESS_S),
    plans.Limit(name="shorter", unit="request", amount=1000, window_s=PROGRESS_S - 1),
    plans.Limit(name="smooth", unit="request", amount=10_000, window_s=60, smooth=True),
    plans.Limit(name="slots", unit="concurrent", amount=4),
]


@pytest.fixture
def limits(connection):
    plans.create(connection, plan_id="p", name="P", limits=LIMITS, actor="test")
    account = accounts.create(connection, name="Acme", plan_id="p", actor="test")
    for name in ("one", "two"):
        connection.execute(
            "INSERT INTO replica (id, service, host, version, mode, started_at, seen_at) "
            "VALUES (%s, 's', 'h', '1', 'enforce', now(), now())",
            (name,),
        )
    return {limit.name: f"{limit.id}:{account.id}" for limit in plans.require(connection, "p").limits}


def ask(connection, replica, ids, units, **told):
    asked = LeaseRequest(service=None, replica=replica, acquisitions=[Acquisition(one, units) for one in ids], **told)
    with connection.transaction():
        (exchanged,) = leases.exchange(connection, [asked], alive=2)
    return {item.limit_id: str(item.lease_id) for item in exchanged.granted}


def test_units_held_by_others_are_unused_until_spent(connection, limits):
    names = {number: name for name, number in limits.items()}
    ask(connection, "one", limits.values(), 1)
    held = ask(connection, "two", limits.values(), 100)

    def unused():
        told = followed.find_unused(connection, [("one", list(limits.values())), ("two", ())])
        assert told.pop("two") == []
        return {names[one.limit]: one.units for one in told["one"]}

    assert unused() == {"daily": 999, "hourly": 999, "short": 999, "shorter": 899}
    ask(
        connection,
        "two",
        (),
        1,
        progress=[Progress(held[limits[name]], 30, 5) for name in ("daily", "hourly", "short")],
    )
    assert unused() == {"daily": 969, "hourly": 969, "short": 969, "shorter": 899}


def test_a_replica_only_follows_limits_that_it_uses(connection, limits):
    ask(connection, "one", [limits["daily"]], 1)
    told = followed.find_unused(
        connection, [("one", [limits["daily"], limits["hourly"], "nonsense"]), ("two", [limits["daily"]])]
    )
    assert told == {"one": [Unused(limits["daily"], 999, 0)], "two": []}
