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


def test_units_come_from_several_leases_or_from_none(pool):
    first, second = grant(pool, 2), grant(pool, 3, lease_id="2")
    assert pool.gather(4, NOW) == [(first, 2), (second, 2)]
    assert pool.gather(6, NOW) is None
    assert (first.available, second.available) == (2, 3)


def test_a_lease_is_not_spent_before_its_start_or_after_its_end(pool):
    lease = grant(pool, 1, start_ns=NOW + SECOND, ends_in_ns=2 * SECOND)
    assert pool.gather(1, NOW) is None
    assert pool.gather(1, NOW + SECOND) == [(lease, 1)]
    assert pool.gather(1, NOW + 2 * SECOND) is None


def test_later_calls_do_not_take_the_units_of_waiting_ones(pool):
    waiter = Waiter(NOW)
    pool.enter(waiter, 2)
    lease = grant(pool, 2)
    assert pool.gather(1, NOW) is None
    assert pool.gather(2, NOW, waiter) == [(lease, 2)]


def test_the_next_grant_pays_for_usage_beyond_reservations(pool):
    assert pool.overdraw(3, NOW, asks=True) is None
    assert pool.missing(NOW) == 3
    lease = grant(pool, 5)
    assert (pool.debt, lease.available, pool.missing(NOW)) == (0, 2, 0)


def test_units_are_requested_until_granted(pool):
    pool.enter(Waiter(NOW), 7)
    for _ in range(2):  # the first request for units may be lost
        units, waiting, _ = pool.demand(NOW)
        assert units >= waiting == 7
    grant(pool, 7)
    assert pool.demand(NOW)[1] == 0


def test_more_is_requested_when_a_quarter_is_spent_and_at_once_when_a_quarter_is_left(pool):
    grant(pool, 8)
    seen = []
    for _ in range(6):
        seen.append(pool.is_low(NOW) and pool.is_urgent(NOW))
        pool.count(1, NOW)
    assert seen == [False] * 6
    assert pool.is_low(NOW)
    assert pool.is_urgent(NOW)
    assert not pool.is_low(NOW)  # only once


def test_a_denial_lasts_until_units_come_free(pool):
    pool.deny(NOW, NOW + 2 * SECOND, NOW + 2 * SECOND)
    assert pool.refuses(NOW + SECOND)
    assert pool.retry_after_ns(NOW + SECOND) == SECOND
    assert not pool.refuses(NOW + 2 * SECOND)
    assert pool.retry_after_ns(NOW + 3 * SECOND) == 0


def test_a_grant_ends_a_denial(pool):
    pool.deny(NOW, NOW + 60 * SECOND, NOW + 60 * SECOND)
    grant(pool, 1)
    assert not pool.refuses(NOW)


def test_an_expired_lease_reports_its_unspent_units(pool):
    lease = grant(pool, 5)
    lease.spend(2, reserve=False)
    assert pool.give_back(NOW) == []
    assert pool.give_back(NOW + 4 * SECOND) == [{"lease": "1", "unspent": 3}]
    assert pool.is_empty


def test_unused_units_of_running_calls_go_back_when_the_calls_end(pool):
    lease = grant(pool, 5)
    lease.spend(4, reserve=True)
    assert pool.give_back(NOW, everything=True) == [{"lease": "1", "used": 4}]
    assert pool.give_back(NOW) == []
    lease.settle(4, 1, NOW)
    assert pool.give_back(NOW) == [{"lease": "1", "unspent": 3}]
    assert pool.is_empty


def test_units_that_will_not_be_spent_go_back_before_the_end(pool):
    grant(pool, 5, ends_in_ns=9 * SECOND)
    assert pool.give_back(NOW + 7 * SECOND) == []
    assert pool.give_back(NOW + 8 * SECOND) == [{"lease": "1", "unspent": 5}]


def test_called_back_units_go_back_at_once(pool):
    grant(pool, 5, ends_in_ns=60 * SECOND)
    assert pool.give_back(NOW) == []
    pool.call_back()
    assert pool.give_back(NOW + MS) == [{"lease": "1", "unspent": 5}]


def test_remaining_is_what_is_held_plus_what_others_leave(pool):
    grant(pool, 5, ends_in_ns=9 * SECOND)
    for second in range(4):  # others take 10 units per second
        pool.unused.tell(100 - 10 * second, own=5, told_ns=NOW + second * SECOND)
    pool.note_left(70, 4, NOW)
    assert pool.remaining(NOW + 3 * SECOND) == 75
    assert pool.remaining(NOW + 4 * SECOND) == 65


@pytest.mark.parametrize("dry_run", [False, True])
def test_what_is_left_is_outdated_a_second_after_a_report_that_callers_saw(dry_run):
    pool = LeasePool(Limit("1:a", "rpm", "request", 100, 60, None, dry_run=dry_run))
    grant(pool, 5, ends_in_ns=9 * SECOND)
    pool.tell_unused(95, NOW, NOW)
    assert not pool.is_outdated(NOW + 5 * SECOND)  # nobody has asked since
    pool.count(1, NOW)
    assert not pool.is_outdated(NOW + SECOND - 1)
    assert pool.is_outdated(NOW + SECOND) != dry_run
    pool.tell_unused(95, NOW + SECOND, NOW + SECOND)
    assert not pool.is_outdated(NOW + 5 * SECOND)


def test_progress_is_reported_once(pool):
    lease = grant(pool, 5)
    assert pool.untold() == []
    lease.spend(2, reserve=False)
    assert pool.untold() == [lease]
    lease.progress_told = lease.progress
    assert pool.untold() == []


def test_refused_callers_may_retry_soon_while_running_calls_may_give_units_back():
    pool = LeasePool(Limit("1:a", "tokens", "token", 600, None, "month"))
    lease = grant(pool, 5)
    pool.deny(NOW, NOW + 60 * SECOND, NOW + 60 * SECOND)
    lease.spend(2, reserve=True)
    assert pool.retry_after_ns(NOW) == SECOND
    lease.settle(2, 2, NOW)
    assert pool.retry_after_ns(NOW) == 60 * SECOND
