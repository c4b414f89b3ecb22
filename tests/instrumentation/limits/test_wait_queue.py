import pytest

from keygauge.limits.wait_queue import WaitQueue
from keygauge.limits.waiter import Waiter


@pytest.fixture
def queue():
    return WaitQueue()


@pytest.fixture
def waiters(queue):
    """Three calls that wait for 3, 5 and 2 units."""
    made = [Waiter(0) for _ in range(3)]
    for waiter, units in zip(made, (3, 5, 2), strict=True):
        queue.enter(waiter, units)
        waiter.lacks = [queue]
    return made


def test_a_call_that_enters_again_keeps_its_place(queue, waiters):
    queue.enter(waiters[0], 4)
    assert (list(queue.waiting), queue.awaited) == (waiters, 11)


def test_a_call_that_leaves_no_longer_counts(queue, waiters):
    queue.drop(waiters[1])
    queue.drop(waiters[1])
    assert (list(queue.waiting), queue.awaited) == ([waiters[0], waiters[2]], 5)


@pytest.mark.parametrize(
    ("place", "units", "available", "expected"),
    [(0, 3, 3, True), (0, 3, 2, False), (1, 5, 8, True), (1, 5, 7, False), (2, 2, 10, True), (2, 2, 9, False)],
)
def test_it_is_a_call_s_turn_when_earlier_ones_are_also_covered(queue, waiters, place, units, available, expected):
    assert queue.is_turn(units, available, waiters[place]) is expected


@pytest.mark.parametrize(("available", "expected"), [(11, True), (10, False)])
def test_a_new_call_comes_last(queue, waiters, available, expected):
    assert queue.is_turn(1, available, None) is expected


def test_needs_are_counted_up_to_and_including_a_call(queue, waiters):
    assert [queue.needs_until(waiter) for waiter in waiters] == [3, 8, 10]


def test_the_first_calls_that_are_covered_are_woken(queue, waiters):
    calls = [waiter.wait().woken for waiter in waiters]
    queue.wake_first(9)
    assert [call.done() for call in calls] == [True, True, False]


def test_a_call_that_only_lacks_units_of_another_limit_is_not_woken(queue, waiters):
    waiters[0].lacks = []
    calls = [waiter.wait().woken for waiter in waiters]
    queue.wake_first(9)
    assert [call.done() for call in calls] == [False, True, False]


def test_all_calls_are_woken_when_there_are_no_more_units(queue, waiters):
    calls = [waiter.wait().woken for waiter in waiters]
    queue.wake_all()
    assert all(call.done() for call in calls)
