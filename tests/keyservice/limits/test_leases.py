import pytest

from keygauge.protocol import Acquisition, Hold, Return
from keygauge_keyservice.accounts import accounts, plans
from keygauge_keyservice.limits import leases
from keygauge_keyservice.limits.grant import Counter, Grant
from keygauge_keyservice.limits.lease_rows import Out
from keygauge_keyservice.limits.leases import Asked, Refund

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
            return leases.exchange(connection, [Asked(service=None, **one) for one in asked], alive=alive)

    return exchange


def want(limit, units):
    return [Acquisition(limit, units, units)]


def test_no_more_is_given_than_there_is_whoever_asks_together(exchange, limits):
    asked = [{"replica": name, "acquisitions": want(limits["daily"], 6)} for name in ("r1", "r2", "r3")]
    granted = [one.granted[0].grant.units for one in exchange(*asked, alive=3)]
    granted += [exchange(one, alive=3)[0].granted[0].grant.units for one in asked]
    assert sum(granted) == 10
    assert exchange(asked[0])[0].granted[0].lease_id is None


def test_units_come_back_once_however_often_they_are_returned(exchange, limits):
    ((given,),) = (one.granted for one in exchange({"replica": "r1", "acquisitions": want(limits["daily"], 10)}))
    back = {"replica": "r1", "returns": [Return(str(given.lease_id), unspent=4)]}
    for _ in range(2):
        exchange(back)
    ((again,),) = (one.granted for one in exchange({"replica": "r1", "acquisitions": want(limits["daily"], 10)}))
    assert again.grant.units == 4


def test_nobody_returns_what_another_holds(exchange, limits):
    ((given,),) = (one.granted for one in exchange({"replica": "r1", "acquisitions": want(limits["daily"], 10)}))
    exchange({"replica": "r2", "returns": [Return(str(given.lease_id), unspent=10)]})
    ((none,),) = (one.granted for one in exchange({"replica": "r2", "acquisitions": want(limits["daily"], 1)}))
    assert none.grant.units == 0


def test_slots_are_kept_by_those_who_hold_them(exchange, limits):
    ((given,),) = (one.granted for one in exchange({"replica": "r1", "acquisitions": want(limits["slots"], 3)}))
    hold = [Hold(str(given.lease_id), given.grant.units)]
    kept = exchange({"replica": "r1", "holds": hold}, {"replica": "r2", "holds": hold})
    assert [[item.lease_id for item in one.kept] for one in kept] == [[str(given.lease_id)], []]


def test_what_is_no_limit_or_lease_is_passed_over(exchange, limits):
    (told,) = exchange(
        {
            "replica": "r1",
            "acquisitions": [Acquisition(text, 1) for text in ("", "x", "1", "1:", "-1:a", "9" * 19 + ":a", "1:a b")],
            "returns": [Return(text, unspent=1) for text in ("", "x", "-1", "9" * 19, "1 ")],
            "holds": [Hold("x", 1)],
        }
    )
    assert (told.granted, told.kept, told.wanted) == ((), (), ())


def test_more_may_come_back_where_others_hold_units_or_calls_reserved_them():
    rate, budget = {"unit": "token", "period": None}, {"unit": "token", "period": "day"}
    requests = {"unit": "request", "period": "day"}
    told = [
        leases.may_come_back(terms, Out(is_held=False, is_taken=taken))
        for terms in (rate, budget, requests)
        for taken in (True, False)
    ]
    assert told == [True, True, True, False, False, False]
    assert leases.may_come_back(requests, Out(is_held=True, is_taken=False))


def test_calls_lack_units_where_fewer_came_than_wait_and_none_comes_soon():
    def grant(units, reset_us):
        return Grant(Counter(0, (0,)), units, 0, 0, reset_us)

    asked = Acquisition("1:a", 5, 3)
    assert leases.lacks(grant(2, 2_000_000), asked)
    assert not leases.lacks(grant(3, 2_000_000), asked)
    assert not leases.lacks(grant(2, 1_000_000), asked)
    assert leases.lacks(grant(0, 2_000_000), Acquisition("1:a", 5, 0))


def test_a_refund_of_a_period_that_is_over_changes_nothing():
    counter, terms = Counter(7, (5,)), {"window_s": None, "amount": 10}
    assert leases.settle(counter, [Refund(7, 2, 0), Refund(6, 2, 0), Refund(7, 0, 3)], terms, now_us=0).used == 3
