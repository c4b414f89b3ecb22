from keygauge.limits.waiter import Waiter


def test_a_call_woken_several_times_decides_again_once():
    waiter = Waiter(5)
    wait = waiter.wait(at_ns=9)
    assert (wait.at_ns, wait.woken.done()) == (9, False)
    for _ in range(3):
        waiter.wake()
    assert wait.woken.result(timeout=0) is True


def test_a_new_wait_needs_a_new_wake_up():
    waiter = Waiter(5)
    first = waiter.wait()
    assert waiter.wait().woken is first.woken
    waiter.wake()
    second = waiter.wait()
    assert (first.woken.done(), second.woken.done()) == (True, False)
    waiter.wake()
    assert second.woken.done()


def test_a_wake_up_before_the_wait_does_not_end_it():
    waiter = Waiter(5)
    waiter.wake()
    assert not waiter.wait().woken.done()
