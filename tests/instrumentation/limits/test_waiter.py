from keygauge.limits.waiter import Waiter


def test_a_call_decides_again_once_however_often_it_is_woken():
    waiter = Waiter(5)
    wait = waiter.wait(at_ns=9)
    assert (wait.at_ns, wait.woken.done()) == (9, False)
    for _ in range(3):
        waiter.wake()
    assert wait.woken.result(timeout=0) is True


def test_who_waits_again_is_woken_by_what_comes_after():
    waiter = Waiter(5)
    first = waiter.wait()
    assert waiter.wait().woken is first.woken
    waiter.wake()
    second = waiter.wait()
    assert (first.woken.done(), second.woken.done()) == (True, False)
    waiter.wake()
    assert second.woken.done()


def test_a_waiter_that_is_woken_before_it_waits_misses_nothing_that_it_waits_for():
    waiter = Waiter(5)
    waiter.wake()
    assert not waiter.wait().woken.done()
