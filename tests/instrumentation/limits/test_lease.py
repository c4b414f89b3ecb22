from hypothesis import given
from hypothesis import strategies as st

from keygauge.clock import MS, SECOND
from keygauge.limits.lease import LATE_NS, Lease

NOW, END = 100 * SECOND, 104 * SECOND


def lease(units=10, **parts):
    return Lease("1", units, END, now_ns=NOW, **parts)


def test_units_may_be_spent_from_the_start_until_the_end():
    one = lease(start_ns=NOW + SECOND)
    assert [one.is_live(now) for now in (NOW, NOW + SECOND, END - 1, END)] == [False, True, True, False]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 8), st.integers(-2, 2)), max_size=8))
def test_no_unit_is_lost_or_created(calls):
    """Used, reserved, available and refundable units add up to the grant."""
    one, used = lease(100), 0
    for reserved, spent, late_s in calls:
        one.spend(reserved, reserve=True)
        one.settle(reserved, spent, END + late_s * SECOND)
        used += spent
    assert one.available + one.refund + one.reserved + used == 100


def test_unused_units_can_be_spent_again_until_the_end():
    one = lease()
    one.spend(4, reserve=True)
    one.settle(4, 1, END - 1)
    assert (one.available, one.refund, one.reserved) == (9, 0, 0)
    one.spend(4, reserve=True)
    one.settle(4, 1, END)
    assert (one.available, one.refund) == (5, 3)


def test_a_closed_lease_is_not_spent_and_unused_units_only_go_back():
    one = lease()
    one.spend(4, reserve=True)
    assert one.close() == 4
    assert (one.units, one.available) == (4, 0)
    one.settle(4, 1, NOW)
    assert (one.available, one.refund) == (0, 3)
    assert one.report(NOW) == {"lease": "1", "unspent": 3}


def test_a_lease_is_spent_when_there_is_nothing_left_to_report():
    one = lease(1)
    assert not one.is_spent
    one.spend(1, reserve=False)
    assert one.is_spent
    exact = lease(1, exact=True)
    exact.spend(1, reserve=False)
    assert not exact.is_spent
    exact.is_over = True
    assert exact.is_spent


def test_a_called_back_lease_counts_as_near_its_end():
    one = lease()
    assert not one.is_called_back
    one.call_back()
    assert one.is_called_back
    assert END - one.margin_ns <= 0


def test_the_margin_is_a_third_of_a_short_life_but_never_negative():
    assert Lease("1", 1, NOW + 300 * MS, now_ns=NOW).margin_ns == 100 * MS
    assert Lease("1", 1, NOW + 3600 * SECOND, now_ns=NOW).margin_ns == 1_100 * MS
    assert Lease("1", 1, NOW - SECOND, now_ns=NOW).margin_ns == 0


def test_an_exact_lease_reports_when_its_last_unit_was_spent():
    one = lease(2, exact=True)
    assert one.report(NOW) == {"lease": "1", "unspent": 2}
    one.spend(1, reserve=False)
    one.note(NOW + MS, NOW)
    assert one.report(NOW + 3 * MS) == {"lease": "1", "unspent": 1, "ago_us": 2000}
    one.note(NOW + LATE_NS, NOW)
    assert one.report(NOW) == {"lease": "1", "unspent": 1, "ago_us": 0, "exact": True}
