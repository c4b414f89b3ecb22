from contextlib import ExitStack

import pytest

from keygauge_keyservice.web.shares import Shares


def take(stack, shares, *services):
    return [stack.enter_context(shares.turn(service)) for service in services]


def test_one_service_cannot_take_the_turns_of_another():
    shares = Shares(each=2, most=6)
    with ExitStack() as stack:
        assert take(stack, shares, *["shop"] * 4) == [True, True, False, False]
        assert take(stack, shares, "search", "search", "search") == [True, True, False]
    assert not shares._taken


def test_all_services_together_have_a_maximum():
    shares = Shares(each=2, most=3)
    with ExitStack() as stack:
        assert take(stack, shares, "a", "b", "c", "d") == [True, True, True, False]
    with shares.turn("d") as is_free:
        assert is_free


def test_a_turn_that_fails_is_given_back():
    shares = Shares(each=1, most=1)
    with pytest.raises(ZeroDivisionError), shares.turn("a"):
        1 / 0  # noqa: B018
    with shares.turn("a") as is_free:
        assert is_free
