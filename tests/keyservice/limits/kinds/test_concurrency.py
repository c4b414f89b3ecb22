import msgspec
import pytest

from keygauge.protocol import Heartbeat
from keygauge_keyservice.accounts import accounts, plans
from keygauge_keyservice.limits.kinds import concurrency
from keygauge_keyservice.pricing.price_book import PriceBook
from keygauge_keyservice.pricing.public_prices import PublicPrices
from keygauge_keyservice.secret import Peppers
from keygauge_keyservice.sync import heartbeat
from keygauge_keyservice.sync.heartbeat import Received

PEPPERS = Peppers.parse("1:" + "33" * 32)
ONE, TWO = "1" * 32, "2" * 32


@pytest.fixture
def limit(connection):
    """Return the id of a limit of 3 concurrent calls."""
    at_once = plans.Limit(name="at_once", unit="concurrent", amount=3)
    (made,) = plans.create(connection, plan_id="free", name="Free", limits=[at_once], actor="test").limits
    account = accounts.create(connection, name="Acme", plan_id="free", actor="test")
    return f"{made.id}:{account.id}"


@pytest.fixture
def send(connection):
    def send(replica=ONE, **parts):
        head = {"replica": replica, "service": "api", "host": "a", "version": "0", "mode": "enforce", "cursor": None}
        with connection.transaction():
            message = msgspec.convert(head | parts, Heartbeat)
            (answer,) = heartbeat.answer(
                connection, [Received(message, None)], peppers=PEPPERS, prices=PriceBook(PublicPrices())
            )
            return msgspec.to_builtins(answer)

    return send


def acquire(limit, units):
    return {"acquire": [{"limit": limit, "units": units, "waiting": units}]}


def lapse(connection):
    connection.execute("UPDATE lease SET ends_at = clock_timestamp() - interval '1 millisecond'")


def test_slots_are_granted_up_to_the_limit(send, limit):
    (grant,) = send(**acquire(limit, 2))["grants"]
    assert (grant["units"], grant["remaining"], grant["left_ms"]) == (2, 1, heartbeat.T_MAX_MS)
    (grant,) = send(TWO, **acquire(limit, 2))["grants"]
    assert (grant["units"], grant["remaining"], grant["small"]) == (1, 0, True)
    (denial,) = send(TWO, **acquire(limit, 1))["denials"]
    assert denial["limit"] == limit


def test_returned_slots_are_freed_once(send, limit):
    (grant,) = send(**acquire(limit, 3))["grants"]
    back = {"return": [{"lease": grant["lease"], "unspent": 0}]}
    send(TWO, **back)  # the lease of another replica
    assert send(TWO, **acquire(limit, 1))["grants"] == []
    send(**back)
    assert send(TWO, **acquire(limit, 3))["grants"][0]["units"] == 3
    send(**back)
    assert send(**acquire(limit, 1))["grants"] == []


def test_held_slots_are_renewed_and_may_shrink_but_not_grow(send, limit, connection):
    lease = send(**acquire(limit, 3))["grants"][0]["lease"]
    connection.execute("UPDATE lease SET ends_at = clock_timestamp() + interval '1 second'")
    (held,) = send(hold=[{"lease": lease, "units": 1}])["held"]
    assert held == {"lease": lease, "left_ms": heartbeat.T_MAX_MS, "small": True, "remaining": 2}
    send(hold=[{"lease": lease, "units": 3}])  # late
    row = connection.execute("SELECT units, ends_at > clock_timestamp() + interval '9 s' AS kept FROM lease").fetchone()
    assert row == {"units": 1, "kept": True}
    assert send(TWO, **acquire(limit, 3))["grants"][0]["units"] == 2


def test_slots_of_a_lost_process_come_free(send, limit, connection):
    lease = send(**acquire(limit, 3))["grants"][0]["lease"]
    lapse(connection)
    assert send(TWO, **acquire(limit, 3))["grants"][0]["units"] == 3
    assert send(hold=[{"lease": lease, "units": 3}])["held"] == []


def test_only_slots_can_be_renewed(send, limit, connection):
    other = plans.Limit(name="rpm", unit="request", amount=60, window_s=60)
    plan = plans.replace_limits(connection, "free", [other], actor="test")
    rpm = f"{plan.limits[0].id}:{limit.split(':')[1]}"
    lease = send(**acquire(rpm, 1))["grants"][0]["lease"]
    before = connection.execute("SELECT ends_at FROM lease").fetchone()
    assert send(hold=[{"lease": lease, "units": 1}])["held"] == []
    assert connection.execute("SELECT ends_at FROM lease").fetchone() == before


def test_a_lowered_limit_grants_nothing_until_enough_came_back(send, limit, connection):
    lease = send(**acquire(limit, 3))["grants"][0]["lease"]
    lower = plans.Limit(name="at_once", unit="concurrent", amount=1)
    plans.replace_limits(connection, "free", [lower], actor="test")
    assert send(TWO, **acquire(limit, 1))["grants"] == []
    send(hold=[{"lease": lease, "units": 1}])
    assert send(TWO, **acquire(limit, 1))["grants"] == []
    send(**{"return": [{"lease": lease, "unspent": 0}]})
    assert send(TWO, **acquire(limit, 1))["grants"][0]["units"] == 1


def test_sharing_replicas_leave_slots_for_each_other():
    out, grants = 0, []
    for _ in range(60):
        given = concurrency.grant(out, now_us=0, amount=40, want=30, replicas=4, waiting=1)
        out += given.units
        grants.append(given.units)
    assert grants[0] == 5
    assert out == 40


@pytest.mark.parametrize("hold", [{}, {"lease": "1"}, {"lease": "1", "units": 0}, {"lease": 1, "units": 1}])
def test_an_invalid_hold_is_refused(hold):
    head = {"replica": ONE, "service": "api", "host": "a", "version": "0", "mode": "enforce", "cursor": None}
    with pytest.raises(msgspec.ValidationError, match="hold"):
        msgspec.convert(head | {"hold": [hold]}, Heartbeat)


def test_a_hold_without_a_numeric_id_is_ignored(send):
    assert send(hold=[{"lease": "x", "units": 1}])["held"] == []


@pytest.mark.parametrize(("told", "used"), [({}, 2), ({"used": 0}, 0), ({"used": 1}, 1), ({"used": 9}, 2)])
def test_slots_are_in_use_as_reported_and_all_of_them_before(connection, send, limit, told, used):
    (given,) = send(acquire=[{"limit": limit, "units": 2, "waiting": 2}])["grants"]
    assert concurrency.in_use(connection, [limit, "0:nobody"]) == {limit: 2}
    send(hold=[{"lease": given["lease"], "units": 2, **told}])
    assert concurrency.in_use(connection, [limit]) == {limit: used}
    send(**{"return": [{"lease": given["lease"], "unspent": 2}]})
    assert concurrency.in_use(connection, [limit]) == {}
