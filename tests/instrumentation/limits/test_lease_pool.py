import pytest

from keygauge.clock import MS, SECOND
from keygauge.limits.lease import Lease
from keygauge.limits.lease_pool import LeasePool
from keygauge.limits.limit import Limit
from keygauge.limits.waiter import Waiter

NOW = 100 * SECOND


@pytest.fixture
def pool():
    return LeasePool(Limit("1:a", "rpm", "request", 600, 60, None))


def grant(pool, units, *, lease_id="1", ends_in_ns=4 * SECOND, start_ns=0, now_ns=NOW):
    lease = Lease(lease_id, units, now_ns + ends_in_ns, now_ns=now_ns, start_ns=start_ns)
    pool.grant(lease, now_ns, reset_ns=now_ns + 60 * SECOND)
    return lease


def test_units_come_from_several_leases_or_not_at_all(pool):
    first, second = grant(pool, 2), grant(pool, 3, lease_id="2")
    assert pool.gather(4, NOW) == [(first, 2), (second, 2)]
    assert pool.gather(6, NOW) is None
    assert (first.available, second.available) == (2, 3)


def test_a_lease_is_not_spent_before_its_start_nor_after_its_end(pool):
    lease = grant(pool, 1, start_ns=NOW + SECOND, ends_in_ns=2 * SECOND)
    assert pool.gather(1, NOW) is None
    assert pool.gather(1, NOW + SECOND) == [(lease, 1)]
    assert pool.gather(1, NOW + 2 * SECOND) is None


def test_who_comes_later_does_not_take_the_units_of_who_waits(pool):
    waiter = Waiter(NOW)
    pool.enter(waiter, 2)
    lease = grant(pool, 2)
    assert pool.gather(1, NOW) is None
    assert pool.gather(2, NOW, waiter) == [(lease, 2)]


def test_what_was_used_beyond_reservations_is_paid_by_the_next_grant(pool):
    assert pool.overdraw(3, NOW, asks=True) is None
    assert pool.missing(NOW) == 3
    lease = grant(pool, 5)
    assert (pool.debt, lease.available, pool.missing(NOW)) == (0, 2, 0)


def test_what_waits_is_asked_for_until_it_is_there(pool):
    pool.enter(Waiter(NOW), 7)
    for _ in range(2):  # the first request for units may be lost
        units, waiting, _ = pool.demand(NOW)
        assert units >= waiting == 7
    grant(pool, 7)
    assert pool.demand(NOW)[1] == 0


def test_it_asks_when_a_quarter_is_spent_and_at_once_when_a_quarter_is_left(pool):
    grant(pool, 8)
    seen = []
    for _ in range(6):
        seen.append(pool.is_low(NOW) and pool.is_urgent(NOW))
        pool.count(1, NOW)
    assert seen == [False] * 6
    assert pool.is_low(NOW)
    assert pool.is_urgent(NOW)
    assert not pool.is_low(NOW)  # once


def test_a_refusal_is_believed_until_units_come_free(pool):
    pool.deny(NOW, NOW + 2 * SECOND, NOW + 2 * SECOND)
    assert pool.refuses(NOW + SECOND)
    assert pool.retry_after_ns(NOW + SECOND) == SECOND
    assert not pool.refuses(NOW + 2 * SECOND)
    assert pool.retry_after_ns(NOW + 3 * SECOND) == 0


def test_a_grant_ends_a_refusal(pool):
    pool.deny(NOW, NOW + 60 * SECOND, NOW + 60 * SECOND)
    grant(pool, 1)
    assert not pool.refuses(NOW)


def test_a_lease_that_is_over_tells_what_was_not_spent(pool):
    lease = grant(pool, 5)
    lease.spend(2, reserve=False)
    assert pool.give_back(NOW) == []
    assert pool.give_back(NOW + 4 * SECOND) == [{"lease": "1", "unspent": 3}]
    assert pool.is_empty


def test_units_of_calls_under_way_go_back_when_the_calls_end(pool):
    lease = grant(pool, 5)
    lease.spend(4, reserve=True)
    assert pool.give_back(NOW, everything=True) == [{"lease": "1", "used": 4}]
    assert pool.give_back(NOW) == []
    lease.settle(4, 1, NOW)
    assert pool.give_back(NOW) == [{"lease": "1", "unspent": 3}]
    assert pool.is_empty


def test_what_is_not_spent_soon_goes_back_before_its_end(pool):
    grant(pool, 5, ends_in_ns=9 * SECOND)
    assert pool.give_back(NOW + 7 * SECOND) == []
    assert pool.give_back(NOW + 8 * SECOND) == [{"lease": "1", "unspent": 5}]


def test_what_others_want_goes_back_at_once(pool):
    grant(pool, 5, ends_in_ns=60 * SECOND)
    assert pool.give_back(NOW) == []
    pool.call_back()
    assert pool.give_back(NOW + MS) == [{"lease": "1", "unspent": 5}]


def test_remaining_is_what_is_held_and_what_others_leave_of_the_rest(pool):
    grant(pool, 5, ends_in_ns=9 * SECOND)
    for second in range(4):  # others take 10 a second
        pool.unused.tell(100 - 10 * second, own=5, told_ns=NOW + second * SECOND)
    pool.note_left(70, 4, NOW)
    assert pool.remaining(NOW + 3 * SECOND) == 75
    assert pool.remaining(NOW + 4 * SECOND) == 65
    pool.rest = 70
    pool.note_left(70, 1, NOW)  # nobody else takes from it
    assert pool.remaining(NOW + 4 * SECOND) == 75


def test_progress_is_told_once(pool):
    lease = grant(pool, 5)
    assert pool.untold() == []
    lease.spend(2, reserve=False)
    assert pool.untold() == [lease]
    lease.progress_told = lease.progress
    assert pool.untold() == []


def test_who_is_refused_may_come_soon_while_calls_under_way_may_give_units_back():
    pool = LeasePool(Limit("1:a", "tokens", "token", 600, None, "month"))
    lease = grant(pool, 5)
    pool.deny(NOW, NOW + 60 * SECOND, NOW + 60 * SECOND)
    lease.spend(2, reserve=True)
    assert pool.retry_after_ns(NOW) == SECOND
    lease.settle(2, 2, NOW)
    assert pool.retry_after_ns(NOW) == 60 * SECOND
