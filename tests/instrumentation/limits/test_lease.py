from hypothesis import given
from hypothesis import strategies as st

from keygauge.clock import MS, SECOND
from keygauge.limits.lease import LATE_NS, Lease

NOW, END = 100 * SECOND, 104 * SECOND


def lease(units=10, **parts):
    return Lease("1", units, END, now_ns=NOW, **parts)


def test_units_may_be_spent_from_the_start_and_before_the_end():
    one = lease(start_ns=NOW + SECOND)
    assert [one.is_live(now) for now in (NOW, NOW + SECOND, END - 1, END)] == [False, True, True, False]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 8), st.integers(-2, 2)), max_size=8))
def test_whatever_is_reserved_and_used_no_unit_is_lost_or_made(calls):
    """What was granted is what was used, what is reserved, and what can be spent or given back."""
    one, used = lease(100), 0
    for reserved, spent, late_s in calls:
        one.spend(reserved, reserve=True)
        one.settle(reserved, spent, END + late_s * SECOND)
        used += spent
    assert one.available + one.refund + one.reserved + used == 100


def test_what_a_call_did_not_use_can_be_spent_again_until_the_end():
    one = lease()
    one.spend(4, reserve=True)
    one.settle(4, 1, END - 1)
    assert (one.available, one.refund, one.reserved) == (9, 0, 0)
    one.spend(4, reserve=True)
    one.settle(4, 1, END)
    assert (one.available, one.refund) == (5, 3)


def test_of_a_closed_lease_nothing_more_is_spent_and_settled_units_only_go_back():
    one = lease()
    one.spend(4, reserve=True)
    assert one.close() == 4
    assert (one.units, one.available) == (4, 0)
    one.settle(4, 1, NOW)
    assert (one.available, one.refund) == (0, 3)
    assert one.report(NOW) == {"lease": "1", "unspent": 3}


def test_a_lease_ends_by_itself_when_there_is_nothing_to_tell_of_it():
    one = lease(1)
    assert not one.is_spent
    one.spend(1, reserve=False)
    assert one.is_spent
    exact = lease(1, exact=True)
    exact.spend(1, reserve=False)
    assert not exact.is_spent
    exact.is_over = True
    assert exact.is_spent


def test_a_lease_that_is_called_back_is_near_its_end_at_once():
    one = lease()
    assert not one.is_called_back
    one.call_back()
    assert one.is_called_back
    assert END - one.margin_ns <= 0


def test_the_margin_is_a_third_of_a_short_life_and_never_negative():
    assert Lease("1", 1, NOW + 300 * MS, now_ns=NOW).margin_ns == 100 * MS
    assert Lease("1", 1, NOW + 3600 * SECOND, now_ns=NOW).margin_ns == 1_100 * MS
    assert Lease("1", 1, NOW - SECOND, now_ns=NOW).margin_ns == 0


def test_of_an_exact_lease_the_moment_of_its_last_unit_is_told():
    one = lease(2, exact=True)
    assert one.report(NOW) == {"lease": "1", "unspent": 2}
    one.spend(1, reserve=False)
    one.note(NOW + MS, NOW)
    assert one.report(NOW + 3 * MS) == {"lease": "1", "unspent": 1, "ago_us": 2000}
    one.note(NOW + LATE_NS, NOW)
    assert one.report(NOW) == {"lease": "1", "unspent": 1, "ago_us": 0, "exact": True}
