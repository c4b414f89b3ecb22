from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keygauge_keyservice.limits.definitions import Period
from keygauge_keyservice.limits.grant import Counter
from keygauge_keyservice.limits.kinds import quota

NEW = Counter(0, (0,))

moments = st.datetimes(datetime(1999, 1, 1), datetime(2101, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))  # noqa: DTZ001 - Hypothesis wants naive bounds
periods = st.sampled_from(get_args(Period))
STARTS = {
    "day": lambda _: True,
    "week": lambda date: date.isoweekday() == 1,
    "month": lambda date: date.day == 1,
    "quarter": lambda date: date.day == 1 and date.month in {1, 4, 7, 10},
    "year": lambda date: (date.month, date.day) == (1, 1),
}  # whether a period starts on a date


def micros(moment):
    return int(moment.timestamp()) * 1_000_000 + moment.microsecond


@given(moment=moments, period=periods)
def test_every_moment_lies_in_its_period(moment, period):
    start = datetime.fromtimestamp(quota.start_s(micros(moment), period), UTC)
    end = datetime.fromtimestamp(quota.end_s(int(start.timestamp()), period), UTC)
    assert start <= moment < end
    assert (start, end) == reference(moment, period)


def reference(moment, period):
    """Look through the calendar, one day after the other."""
    if period == "hour":
        start = moment.replace(minute=0, second=0, microsecond=0)
        return start, start + timedelta(hours=1)
    start = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    while not STARTS[period](start):
        start -= timedelta(days=1)
    end = start + timedelta(days=1)
    while not STARTS[period](end):
        end += timedelta(days=1)
    return start, end


@pytest.mark.parametrize(
    ("period", "start", "end"),
    [
        ("hour", "2028-02-29 23", "2028-03-01 00"),
        ("day", "2028-02-29 00", "2028-03-01 00"),
        ("week", "2028-02-28 00", "2028-03-06 00"),
        ("month", "2028-02-01 00", "2028-03-01 00"),
        ("quarter", "2028-01-01 00", "2028-04-01 00"),
        ("year", "2028-01-01 00", "2029-01-01 00"),
    ],
)
def test_periods_hold_a_leap_day(period, start, end):
    start_s = quota.start_s(micros(datetime(2028, 2, 29, 23, 59, 59, tzinfo=UTC)), period)
    found = (datetime.fromtimestamp(second, UTC) for second in (start_s, quota.end_s(start_s, period)))
    assert [f"{moment:%Y-%m-%d %H:%M:%S}" for moment in found] == [f"{start}:00:00", f"{end}:00:00"]


@given(
    steps=st.lists(st.tuples(st.integers(0, 20), st.integers(1, 9), st.integers(1, 3)), max_size=40),
    amount=st.integers(0, 30),
    period=periods,
)
def test_no_period_gives_more_than_the_budget(steps, amount, period):
    counter, moment, given_by_period = NEW, datetime(2026, 1, 1, tzinfo=UTC), {}
    for hours, want, replicas in steps:
        moment += timedelta(hours=hours)
        grant = quota.grant(counter, now_us=micros(moment), amount=amount, period=period, want=want, replicas=replicas)
        counter = grant.state
        given_by_period[counter.head] = given_by_period.get(counter.head, 0) + grant.units
    assert all(units <= amount for units in given_by_period.values())


@pytest.mark.parametrize(("second", "lease_s"), [(0, 30), (50, 10), (59, 1)])
def test_a_lease_ends_with_its_period(second, lease_s):
    now_us = micros(datetime(2026, 1, 31, 23, 59, second, tzinfo=UTC))
    grant = quota.grant(NEW, now_us=now_us, amount=5, period="month", want=1)
    assert grant.ends_us - now_us == lease_s * 1_000_000
    assert grant.reset_us == (60 - second) * 1_000_000


def test_a_clock_set_back_does_not_open_the_last_period_again():
    later = quota.grant(NEW, now_us=micros(datetime(2026, 2, 1, tzinfo=UTC)), amount=5, period="month", want=5)
    back = quota.grant(
        later.state, now_us=micros(datetime(2026, 1, 31, 23, 59, tzinfo=UTC)), amount=5, period="month", want=5
    )
    assert back.units == 0
    assert back.state == later.state
