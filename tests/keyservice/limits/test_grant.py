from hypothesis import given
from hypothesis import strategies as st

from keygauge_keyservice.limits.grant import Counter


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 20)), max_size=12))
def test_whatever_is_given_and_given_back_the_use_is_never_negative(steps):
    counter, used = Counter(7, (0,)), 0
    for is_refund, units in steps:
        counter = counter.refund(units, head=7) if is_refund else counter.take(units)
        used = max(0, used - units) if is_refund else used + units
        assert counter.used == used
        assert counter.room(15) == max(0, 15 - used)


def test_units_of_a_period_that_is_over_are_burnt():
    counter = Counter(7, (5,))
    assert counter.refund(3, head=6) is counter
    assert counter.refund(3, head=7).used == 2
