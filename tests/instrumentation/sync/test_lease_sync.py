"""What heartbeats request and give back, with a manual clock and answers written by the tests."""

import pytest

from keygauge.clock import SECOND
from keygauge.limits.admission import Admission, Short
from keygauge.limits.lease_pool import LeasePool
from keygauge.limits.limit import Limit
from keygauge.protocol import PROGRESS_S
from keygauge.sync.lease_sync import LeaseSync, _start


class Process:
    def __init__(self, pool):
        self.now_ns, self.woken, self.pool, self.number = 100 * SECOND, 0, pool, 0
        self.admission = Admission(wake=self.wake, clock=lambda: self.now_ns)
        self.admission.authority_ns = 1000 * self.now_ns
        self.sync = LeaseSync(self.admission, clock="c")

    def wake(self):
        self.woken += 1

    def take(self, units=1):
        return self.admission.reserve([(self.pool, units)], self.now_ns)

    def grant(self, asked, units, **parts):
        self.number += 1
        grant = {"limit": "1:a", "lease": str(self.number), "units": units, "start_us": 0, "wait_us": 0}
        grant |= {"left_ms": 3000, "exact": False, "small": False, "remaining": 9, "reset_ms": 60_000, "retry_ms": 0}
        answer = {"grants": [grant | parts], "denials": [], "held": [], "wanted": []}
        self.answer(asked, answer)

    def answer(self, asked, answer):
        with self.admission.lock:
            self.sync.take({"replicas": 1, "t_max_ms": 10_000, "more": False} | answer, asked)


@pytest.fixture
def process():
    return Process(LeasePool(Limit("1:a", "rpm", "request", 600, 60, None)))


def test_units_for_waiting_calls_are_requested_and_a_grant_wakes_them(process):
    short = process.take()
    assert isinstance(short, Short)
    message, asked = process.sync.offer()
    (wanted,) = message["acquire"]
    assert (wanted["limit"], wanted["waiting"]) == ("1:a", 1)
    assert message["clock"] == {"name": "c", "us": process.now_ns // 1000}
    assert (message["return"], "hold" in message) == ([], False)
    process.grant(asked, 5)
    assert short.wait.woken.done()
    assert process.pool.available(process.now_ns) == 5


def test_nothing_is_requested_if_nothing_is_needed(process):
    message, asked = process.sync.offer()
    assert message["acquire"] == message["return"] == []
    assert (asked.waiting, asked.slots, asked.returns) == ({}, {}, [])
    assert process.sync.turn_ns() is None
    assert not process.sync.owes()


def test_unanswered_requests_and_returns_are_repeated(process):
    process.take()
    process.grant(process.sync.offer()[1], 5)
    message, asked = process.sync.offer(stopping=True)
    (back,) = message["return"]
    assert back["unspent"] == 5
    with process.admission.lock:
        process.sync.give_up(asked)
    assert process.sync.owes()
    assert process.sync.offer(stopping=True)[0]["return"] == [back]
    assert not process.sync.owes()


def test_the_key_service_learns_which_answers_will_never_be_used(process):
    numbers = []
    for is_lost in (False, True, False):
        message, asked = process.sync.offer()
        assert message.get("lost") == ([{"first": numbers[-1], "last": numbers[-1]}] if numbers[1:] else None)
        numbers.append(message["number"])
        with process.admission.lock:
            process.sync.give_up(asked) if is_lost else None
    assert numbers == sorted(set(numbers))


def test_what_the_first_answer_to_a_repeated_message_granted_goes_back_and_is_requested_again(process):
    short = process.take()
    _, asked = process.sync.offer()
    woken = process.woken
    process.answer(asked, {"grants": [], "denials": [], "repeated": True})
    assert process.woken > woken
    assert not short.wait.woken.done()
    message, _ = process.sync.offer()
    assert message["lost"] == [{"first": asked.number, "last": asked.number}]
    assert [wanted["waiting"] for wanted in message["acquire"]] == [1]


def test_messages_shrink_without_answers_and_grow_again(process):
    pools = [LeasePool(Limit(f"{number}:a", "rpm", "request", 600, 60, None)) for number in range(1200)]
    for pool in pools:
        assert isinstance(process.admission.reserve([(pool, 1)], process.now_ns), Short)
    sizes, asked_for = [], set()
    for is_answered in [False] * 7 + [True] * 8:
        message, asked = process.sync.offer()
        sizes.append(len(message["acquire"]))
        if is_answered:
            asked_for |= asked.waiting.keys()
            process.answer(asked, {"grants": [], "denials": [], "held": [], "wanted": []})
        else:
            with process.admission.lock:
                process.sync.give_up(asked)
    assert sizes == [500, 250, 125, 62, 31, 16, 16, 16, 32, 64, 128, 256, 500, 204, 0]
    assert asked_for == {pool.limit.id for pool in pools}


def test_progress_is_reported_if_calls_wait_and_again_if_it_was_lost():
    process = Process(LeasePool(Limit("1:a", "few", "token", 600, PROGRESS_S - 1, None)))
    short = process.take(5)
    process.grant(process.sync.offer()[1], 5)
    process.admission.leave(short.waiter)
    process.take(3)
    assert "progress" not in process.sync.offer()[0]  # a short window, and nobody waits
    process.take(3)
    message, asked = process.sync.offer()
    told = [{"lease": "1", "spent": 3, "reserved": 3}]
    assert message["progress"] == told
    with process.admission.lock:
        process.sync.give_up(asked)
    message, asked = process.sync.offer()
    assert message["progress"] == told
    process.answer(asked, {"grants": [], "denials": []})
    assert "progress" not in process.sync.offer()[0]


def test_an_expired_lease_goes_back_once_with_its_unspent_units(process):
    process.take()
    process.grant(process.sync.offer()[1], 5)
    assert process.now_ns < process.sync.turn_ns() < process.now_ns + 3 * SECOND
    process.now_ns += 4 * SECOND
    assert [(back["lease"], back["unspent"]) for back in process.sync.offer()[0]["return"]] == [("1", 5)]
    assert process.sync.offer()[0]["return"] == []
    assert process.pool.available(process.now_ns) == 0


def test_remaining_times_count_from_before_the_offer_was_sent(process):
    process.take()
    _, asked = process.sync.offer()
    process.now_ns += 2 * SECOND  # the answer took this long
    process.grant(asked, 5)
    (lease,) = process.pool.leases
    assert lease.deadline_ns == asked.sent_ns + 3 * SECOND


def test_a_denied_limit_refuses_calls(process):
    process.take()
    _, asked = process.sync.offer()
    denial = {"limit": "1:a", "retry_ms": 30_000, "remaining": 0, "reset_ms": 30_000, "small": False, "replicas": 1}
    process.answer(asked, {"grants": [], "denials": [denial]})
    assert process.take().code == "rate_limited"


def test_a_grant_is_never_spent_sooner_than_the_service_expects():
    sent_ns, now_ns = 100 * SECOND, 103 * SECOND
    assert _start({"start_us": 0}, now_ns, sent_ns) == 0
    assert _start({"start_us": 500_000, "wait_us": 0}, now_ns, sent_ns) == now_ns + SECOND // 2
    assert _start({"start_us": 0, "wait_us": 5_000_000}, now_ns, sent_ns) == 105 * SECOND
    assert _start({"start_us": 500_000, "wait_us": 1_000_000}, now_ns, sent_ns) == now_ns + SECOND // 2
