"""Calls that wait for units, with a manual clock and heartbeats that the tests answer."""

from itertools import pairwise
from types import SimpleNamespace

from keygauge.clock import MS, SECOND
from keygauge.limits.admission import Admission, Reservation, Short
from keygauge.limits.concurrency import PATIENCE_NS, ConcurrencyPool
from keygauge.limits.lease_pool import LeasePool
from keygauge.limits.limit import Limit
from keygauge.limits.refusal import UNAVAILABLE, Refusal
from keygauge.sync.lease_sync import LeaseSync


class Process:
    def __init__(self, *lease_pools):
        self.now_ns = 100 * SECOND
        self.woken = 0
        self.admission = Admission(wake=self.wake, clock=lambda: self.now_ns)
        self.admission.authority_ns = 2 * self.now_ns
        self.lease_sync = LeaseSync(self.admission)
        self.lease_pools = lease_pools
        self.key = SimpleNamespace(lease_pools=lease_pools)
        self.number = 0
        self.reset_ms = 3000

    def wake(self):
        self.woken += 1

    def admit(self, waiter=None):
        return self.admission.admit(self.key, self.now_ns, waiter)

    def reserve(self, units, waiter=None):
        return self.admission.reserve([(x, units) for x in self.lease_pools], self.now_ns, waiter)

    def ask(self):
        """Build a heartbeat; return its demand per limit, and the request."""
        message, asked = self.lease_sync.offer()
        return {x["limit"]: (x["units"], x["waiting"]) for x in message["acquire"]}, asked

    def answer(self, asked, **granted):
        """Answer a request: units per limit, None for a denial."""
        grants, denials = [], []
        for limit, units in granted.items():
            self.number += 1
            grant = {"limit": limit, "lease": str(self.number), "units": units, "start_us": 0, "left_ms": 3000}
            grant |= {"exact": False, "small": False, "remaining": 9, "reset_ms": self.reset_ms}
            denial = {"limit": limit, "retry_ms": 30_000, "remaining": 0, "reset_ms": 30_000, "small": False}
            grants += [grant] if units else []
            denials += [] if units else [denial]
        answer = {"grants": grants, "denials": denials, "replicas": 1, "t_max_ms": 10_000, "more": False}
        with self.admission.lock:
            self.lease_sync.take(answer, asked)


def rate(name="rpm", unit="request", amount=10**8):
    return LeasePool(Limit(name, name, unit, amount, 60, None))


def test_demand_during_a_heartbeat_goes_with_the_next_one():
    process = Process(rate())
    first = [process.admit() for _ in range(3)]
    demand, asked = process.ask()
    assert demand == {"rpm": (3, 3)}
    later = [process.admit() for _ in range(5)]
    process.answer(asked, rpm=3)
    assert [short.wait.woken.done() for short in [*first, *later]] == [True] * 3 + [False] * 5
    assert [process.admit(short.waiter) for short in first] == [None] * 3
    demand, asked = process.ask()
    assert demand["rpm"][1] == 5
    process.answer(asked, rpm=demand["rpm"][0])
    assert [process.admit(short.waiter) for short in later] == [None] * 5


def test_demand_doubles_while_calls_wait():
    process = Process(rate())
    asked_for = []
    for _ in range(8):
        waiting = [process.admit() for _ in range(16)]
        waiting = [short for short in waiting if isinstance(short, Short)]
        demand, asked = process.ask()
        asked_for.append(demand["rpm"][0])
        process.now_ns += 5 * MS
        process.answer(asked, rpm=demand["rpm"][0])
        assert [process.admit(short.waiter) for short in waiting] == [None] * len(waiting)
        while process.lease_pools[0].available(process.now_ns):
            assert process.admit() is None
    assert asked_for[0] == 16
    assert all(later >= 2 * earlier for earlier, later in pairwise(asked_for))


def test_calls_beyond_a_partial_grant_are_refused():
    process = Process(rate())
    waiting = [process.admit() for _ in range(5)]
    _, asked = process.ask()
    process.answer(asked, rpm=2)
    decisions = [process.admit(short.waiter) for short in waiting]
    assert decisions[:2] == [None] * 2
    assert {decision.code for decision in decisions[2:]} == {"rate_limited"}
    assert not process.lease_pools[0].waiting


def test_a_call_that_left_requests_no_units():
    process = Process(rate())
    short = process.admit()
    process.admission.leave(short.waiter)
    assert process.ask()[0] == {}


def test_a_later_call_takes_only_what_earlier_ones_leave():
    process = Process(rate("tpm", "token"))
    large = process.reserve(1000)
    _, asked = process.ask()
    process.answer(asked, tpm=1100)
    small = process.reserve(500)
    assert isinstance(small, Short)
    assert isinstance(process.reserve(100), Short)  # nor may it overtake that one
    assert isinstance(process.reserve(1000, large.waiter), Reservation)


def test_returned_units_wake_waiting_calls():
    process = Process(rate("tpm", "token"))
    process.reserve(1000)
    _, asked = process.ask()
    process.answer(asked, tpm=1000)
    reservation = process.reserve(1000, next(iter(process.lease_pools[0].waiting)))
    short = process.reserve(600)
    assert not short.wait.woken.done()
    process.admission.settle(reservation, {"token": 10})
    assert short.wait.woken.done()
    assert isinstance(process.reserve(600, short.waiter), Reservation)


def test_a_call_keeps_its_units_of_one_limit_while_waiting_for_another():
    process = Process(rate(), rate("month"))
    first = process.admit()
    demand, asked = process.ask()
    assert demand == {"rpm": (1, 1), "month": (1, 1)}
    process.answer(asked, rpm=1)
    second = process.admit()
    assert isinstance(process.admit(first.waiter), Short)
    demand, asked = process.ask()
    assert {limit: waiting for limit, (_, waiting) in demand.items()} == {"rpm": 1, "month": 2}
    process.answer(asked, rpm=1, month=2)
    assert process.admit(first.waiter) is None
    assert process.admit(second.waiter) is None


def test_calls_decide_again_and_repeat_their_demand_if_the_key_service_does_not_answer():
    process = Process(rate())
    short = process.admit()
    demand, asked = process.ask()
    with process.admission.lock:
        process.lease_sync.give_up(asked)
    process.admission.fail()
    assert process.admission.away
    assert short.wait.woken.done()
    assert isinstance(process.admit(short.waiter), Short)
    assert process.ask()[0] == demand


def test_a_waiting_call_is_refused_and_leaves_once_authority_has_expired():
    process = Process(rate())
    short = process.admit()
    process.now_ns *= 2
    process.admission.fail()
    assert process.admit(short.waiter) is UNAVAILABLE
    assert not process.lease_pools[0].waiting


def test_each_call_has_its_own_patience():
    process = Process(ConcurrencyPool(Limit("1:a", "at_once", "concurrent", 1, None, None)))
    first = process.reserve(1)
    _, asked = process.ask()
    process.answer(asked, **{"1:a": 1})
    under_way = process.reserve(1, first.waiter)
    waiting = process.reserve(1)
    assert waiting.wait.at_ns == process.now_ns + PATIENCE_NS
    process.now_ns += PATIENCE_NS // 2
    later = process.reserve(1)
    process.admission.settle(under_way, {})  # another call ends, and a third takes its slot
    assert isinstance(process.reserve(1, waiting.waiter), Reservation)
    process.now_ns += PATIENCE_NS // 2
    assert isinstance(process.reserve(1, later.waiter), Short)
    process.now_ns += PATIENCE_NS // 2
    refusal = process.reserve(1, later.waiter)
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.retry_after_s) == ("concurrency_limited", 1)
    assert process.ask()[0] == {}  # all slots are held here: nothing to request


def test_a_busy_caller_of_a_quota_does_not_wait_for_the_next_lease():
    process = Process(LeasePool(Limit("q", "monthly", "request", 10**6, None, "month")))
    process.reset_ms = 30_000
    first = process.admit()
    process.answer(process.ask()[1], q=500)
    assert process.admit(first.waiter) is None
    process.now_ns += 2 * SECOND + 500 * MS  # of three seconds
    message, asked = process.lease_sync.offer()
    assert message["return"] == []
    assert [part["limit"] for part in message["acquire"]] == ["q"]
    assert process.admit() is None  # during the heartbeat
    process.answer(asked, q=500)
    process.now_ns += SECOND  # the first lease has ended
    assert process.admit() is None
    process.now_ns += SECOND
    assert process.lease_sync.offer()[0]["return"] == [{"lease": "1", "unspent": 498}]


def test_a_called_back_quota_lease_is_given_back():
    process = Process(LeasePool(Limit("q", "monthly", "request", 10**6, None, "month")))
    process.reset_ms = 30_000
    first = process.admit()
    process.answer(process.ask()[1], q=500)
    assert process.admit(first.waiter) is None
    process.lease_pools[0].call_back()
    process.admission.due.add(process.lease_pools[0])
    process.now_ns += SECOND
    assert process.lease_sync.offer()[0]["return"] == [{"lease": "1", "unspent": 499}]


def test_at_most_ten_thousand_calls_wait():
    process = Process(rate())
    assert all(isinstance(process.admit(), Short) for _ in range(10_000))
    assert process.admit() is UNAVAILABLE


def test_a_stopping_process_gives_all_leases_back_in_several_heartbeats():
    lease_pools = [rate(f"limit {number}") for number in range(1_200)]
    process = Process(*lease_pools)
    for first in range(0, 1_200, 400):
        for lease_pool in lease_pools[first : first + 400]:
            process.admission.reserve([(lease_pool, 1)], process.now_ns)
        asks, asked = process.ask()
        process.answer(asked, **dict.fromkeys(asks, 2))
    returned = set()
    for _ in range(4):
        message, asked = process.lease_sync.offer(stopping=True)
        returned |= {told["lease"] for told in message["return"]}
        process.answer(asked)
        if not process.lease_sync.owes():
            break
    assert len(returned) == 1_200


def test_leases_of_a_lowered_limit_go_back():
    process = Process()
    limit = {"id": "1:a", "name": "rpm", "unit": "request", "amount": 1000, "window_s": 60, "period": None}
    entry = {
        "id": "k",
        "account": "a",
        "plan": "p",
        "status": "active",
        "expires_at": None,
        "secrets": [],
        "limits": [limit],
    }
    key_cache = process.admission.key_cache
    key_cache.put([entry], wanted=frozenset("k"))
    process.key.lease_pools = key_cache.keys["k"].lease_pools
    process.admit()
    asks, asked = process.ask()
    process.answer(asked, **dict.fromkeys(asks, 500))
    assert process.admit() is None
    key_cache.put([entry | {"limits": [limit | {"amount": 2000}]}], wanted=frozenset())
    assert process.lease_sync.offer()[0]["return"] == []
    key_cache.put([entry | {"limits": [limit | {"amount": 10}]}], wanted=frozenset())
    message, _ = process.lease_sync.offer()
    assert message["return"] == [{"lease": "1", "unspent": 499}]
    assert process.admit() is not None


def test_calls_of_an_overdrawn_and_exhausted_limit_are_refused_after_one_request():
    process = Process(rate("tpm", "token"))
    first = process.reserve(10)
    process.answer(process.ask()[1], tpm=10)
    reservation = process.reserve(10, first.waiter)
    assert isinstance(reservation, Reservation)
    process.admission.settle(reservation, {"token": 1_000})  # far beyond what it reserved
    short = process.reserve(10)
    demand, asked = process.ask()
    assert demand == {"tpm": (1_000, 1_000)}
    process.answer(asked, tpm=None)
    refusal = process.reserve(10, short.waiter)
    assert isinstance(refusal, Refusal)
    assert refusal.code == "rate_limited"
    assert isinstance(process.reserve(10), Refusal)
    assert process.ask()[0] == {}
