from hypothesis import given
from hypothesis import strategies as st

from keygauge.clock import SECOND
from keygauge.limits.unused import Unused

NOW = 100 * SECOND


def test_the_reported_units_stay_while_others_take_nothing():
    unused = Unused()
    assert unused.at(NOW) == 0
    for second in range(5):  # this process takes 10 units per second of what it holds
        unused.tell(1000 - 20 * second, own=20 + 20 * second, told_ns=NOW + second * SECOND)
        assert unused.at(NOW + second * SECOND + SECOND // 2) == 1000 - 20 * second
    unused.forget()
    assert unused.at(NOW) == 0


@given(own=st.integers(0, 1000), others=st.integers(0, 1000), phase_ms=st.integers(0, 999))
def test_others_are_assumed_to_continue_at_their_rate(own, others, phase_ms):
    unused, amount = Unused(), 10**6
    for second in range(6):
        unused.tell(amount - (own + others) * second, own=own * second, told_ns=NOW + second * SECOND)
    later_ns = NOW + 5 * SECOND + phase_ms * 1_000_000
    assert abs(unused.at(later_ns) - (amount - 5 * (own + others) - others * phase_ms // 1000)) <= 1
    assert unused.at(later_ns + 10**6 * SECOND) == (0 if others else amount - 5 * own)


def test_others_that_have_stopped_are_assumed_to_take_nothing():
    unused = Unused()
    for second, left in enumerate((1000, 600, 200, 200)):
        assert unused.is_guess(NOW + second * SECOND) == (second > 1)
        unused.tell(left, own=0, told_ns=NOW + second * SECOND)
        assert not unused.is_guess(NOW + second * SECOND)
    assert not unused.is_guess(NOW + 9 * SECOND)
    assert unused.at(NOW + 9 * SECOND) == 200


def test_a_new_period_starts_with_the_full_amount():
    unused = Unused()
    for second, left in enumerate((1000, 600, 200)):
        unused.tell(left, own=0, told_ns=NOW + second * SECOND)
    unused.tell(1000, own=0, told_ns=NOW + 3 * SECOND)
    assert unused.at(NOW + 4 * SECOND) == 1000
