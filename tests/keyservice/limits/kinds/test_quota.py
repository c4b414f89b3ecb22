from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keygauge_keyservice.limits.kinds import quota
from keygauge_keyservice.limits.kinds.quota import Quota
from keygauge_keyservice.limits.periods import Period, Periods

NEW = Quota(0, 0)

MONTH = Periods("month")


def micros(moment):
    return int(moment.timestamp()) * 1_000_000 + moment.microsecond


@given(
    steps=st.lists(st.tuples(st.integers(0, 20), st.integers(1, 9), st.integers(1, 3)), max_size=40),
    amount=st.integers(0, 30),
    period=st.sampled_from(get_args(Period)),
)
def test_no_period_grants_more_than_the_quota(steps, amount, period):
    counter, moment, given_by_period = NEW, datetime(2026, 1, 1, tzinfo=UTC), {}
    periods = Periods(period)
    for hours, want, replicas in steps:
        moment += timedelta(hours=hours)
        grant = quota.grant(
            counter, now_us=micros(moment), amount=amount, periods=periods, want=want, replicas=replicas
        )
        counter = grant.state
        given_by_period[counter.head] = given_by_period.get(counter.head, 0) + grant.units
    assert all(units <= amount for units in given_by_period.values())


@pytest.mark.parametrize(
    ("used", "want", "debt", "units", "after"), [(0, 9, 4, 5, 5), (3, 9, 7, 7, 10), (8, 4, 4, 4, 12)]
)
def test_debt_counts_even_if_too_little_is_left(used, want, debt, units, after):
    now_us = micros(datetime(2026, 1, 31, tzinfo=UTC))
    counter = quota.advance(NEW, now_us=now_us, periods=MONTH).take(used)
    grant = quota.grant(counter, now_us=now_us, amount=5, periods=MONTH, want=want, waiting=want, debt=debt)
    assert (grant.units, grant.state.used, grant.remaining) == (units, after, 0)


@pytest.mark.parametrize(("second", "lease_s"), [(0, 30), (50, 10), (59, 1)])
def test_a_lease_ends_with_its_period(second, lease_s):
    now_us = micros(datetime(2026, 1, 31, 23, 59, second, tzinfo=UTC))
    grant = quota.grant(NEW, now_us=now_us, amount=5, periods=MONTH, want=1)
    assert grant.ends_us - now_us == lease_s * 1_000_000
    assert grant.reset_us == (60 - second) * 1_000_000


def test_a_clock_set_back_does_not_reopen_the_last_period():
    later = quota.grant(NEW, now_us=micros(datetime(2026, 2, 1, tzinfo=UTC)), amount=5, periods=MONTH, want=5)
    back = quota.grant(
        later.state, now_us=micros(datetime(2026, 1, 31, 23, 59, tzinfo=UTC)), amount=5, periods=MONTH, want=5
    )
    assert back.units == 0
    assert back.state == later.state


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 20)), max_size=12))
def test_usage_is_never_negative(steps):
    counter, used = Quota(7, 0), 0
    for is_refund, units in steps:
        counter = counter.refund(units, head=7) if is_refund else counter.take(units)
        used = max(0, used - units) if is_refund else used + units
        assert counter.used == used
        assert counter.room(15) == max(0, 15 - used)


def test_returned_units_of_a_past_period_are_lost():
    counter = Quota(7, 5)
    assert counter.refund(3, head=6) is counter
    assert counter.refund(3, head=7).used == 2


def test_a_lifetime_quota_grants_its_amount_once():
    first = quota.grant(NEW, now_us=1, amount=5, periods=Periods("lifetime"), want=5)
    later = quota.grant(first.state, now_us=10**16, amount=5, periods=Periods("lifetime"), want=1)
    assert (first.units, later.units) == (5, 0)


def test_a_period_keeps_its_end_if_time_zone_rules_change():
    now_us = micros(datetime(2026, 1, 31, 23, 59, tzinfo=UTC))
    end_us = now_us + 3_600_000_000  # by the rules at that time
    counter = Quota(1, 3, end_us)
    assert quota.advance(counter, now_us=end_us - 1, periods=MONTH) == counter
    assert quota.advance(counter, now_us=end_us, periods=MONTH).used == 0
