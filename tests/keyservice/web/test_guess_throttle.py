import pytest

from keygauge_keyservice.errors import Problem
from keygauge_keyservice.web.guess_throttle import PER_WINDOW, WINDOW_S, GuessThrottle


@pytest.fixture
def clock():
    return [100.0]


@pytest.fixture
def throttle(clock):
    return GuessThrottle(clock=lambda: clock[0])


def send(throttle, ip, times):
    for _ in range(times):
        throttle.admit(ip, "wrong")
        throttle.count(ip, "wrong")


def refused(throttle, ip):
    with pytest.raises(Problem) as caught:
        throttle.admit(ip, "other")
    assert caught.value.status == 429
    return int(caught.value.headers["Retry-After"])


def test_guessing_address_waits_until_the_window_ends_and_others_do_not(throttle, clock):
    send(throttle, "192.0.2.1", PER_WINDOW)
    clock[0] += 0.5
    wait_s = refused(throttle, "192.0.2.1")
    throttle.admit("192.0.2.2", "other")
    clock[0] += wait_s
    send(throttle, "192.0.2.1", PER_WINDOW)
    assert refused(throttle, "192.0.2.1") <= WINDOW_S + 1


def test_valid_credentials_are_not_counted(throttle):
    for _ in range(2 * PER_WINDOW):
        throttle.admit("192.0.2.1", "other")


def test_addresses_of_one_network_and_unknown_addresses_count_together(throttle):
    for number in range(PER_WINDOW):
        send(throttle, f"2001:db8::{number:x}", 1)
        send(throttle, f"nonsense-{number}", 1)
    assert refused(throttle, "2001:db8::ffff") > 0
    assert refused(throttle, None) > 0


def test_credentials_that_worked_pass_until_they_fail(throttle):
    throttle.keep("right")
    send(throttle, "192.0.2.1", PER_WINDOW)
    throttle.admit("192.0.2.1", "right")
    throttle.count("192.0.2.1", "right")
    with pytest.raises(Problem):
        throttle.admit("192.0.2.1", "right")
