from calendar import monthrange
from datetime import UTC, date, datetime, timedelta
from typing import get_args
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from keygauge_keyservice.limits.periods import ANCHORED, NEVER_S, Period, Periods
from keygauge_keyservice.values import time_zone

ZONES = sorted(time_zone.names())
MONTHS = {"month": 1, "quarter": 3, "year": 12}

moments = st.integers(
    int(datetime(1973, 1, 1, tzinfo=UTC).timestamp()), int(datetime(2100, 1, 1, tzinfo=UTC).timestamp())
)
dates = st.dates(date(1990, 1, 1), date(2060, 12, 31))


def is_first(day, period, anchor):
    """Return whether a period begins on a date, by a simple definition."""
    if period == "day":
        return True
    if period == "week":
        return day.weekday() == (anchor.weekday() if anchor else 0)
    anchor = anchor or date(2000, 1, 1)
    if (day.month - anchor.month) % MONTHS[period]:
        return False
    return day.day == min(anchor.day, monthrange(day.year, day.month)[1])


def first_s(day, zone):
    """Search minute by minute for the first one with this local date, or a later date if it was skipped."""
    minute = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) // 60 - 27 * 60
    while datetime.fromtimestamp(60 * minute, zone).date() < day:
        minute += 1
    return 60 * minute


def reference(moment_s, period, anchor, zone):
    """Search day by day for the period around a time."""
    day = datetime.fromtimestamp(moment_s, zone).date() + timedelta(days=1)
    while first_s(day, zone) > moment_s or not is_first(day, period, anchor):
        day -= timedelta(days=1)
    after = day + timedelta(days=1)
    while not is_first(after, period, anchor):
        after += timedelta(days=1)
    return first_s(day, zone), first_s(after, zone)


@given(
    moment_s=moments,
    period=st.sampled_from(["day", *ANCHORED]),
    anchor=st.none() | dates,
    zone=st.sampled_from(ZONES),
)
@example(1_792_888_200, "day", None, "Atlantic/Azores")
@example(594_178_270, "day", None, "America/St_Johns")  # one minute past the first midnight, then 23:01 again
@example(1_325_239_199, "month", date(2011, 1, 30), "Pacific/Apia")  # the 30th of December 2011 did not exist
def test_boundaries_follow_the_local_calendar(moment_s, period, anchor, zone):
    found = Periods(period, None if period == "day" else anchor, zone).around(moment_s)
    assert found == reference(moment_s, period, None if period == "day" else anchor, ZoneInfo(zone))
    assert found[0] <= moment_s < found[1]


@given(
    moment_s=moments, period=st.sampled_from(get_args(Period)), anchor=st.none() | dates, zone=st.sampled_from(ZONES)
)
def test_periods_cover_time_without_gaps_or_overlaps(moment_s, period, anchor, zone):
    periods = Periods(period, anchor, zone)
    start, end = periods.around(moment_s)
    assert periods.around(start) == periods.around(end - 1) == (start, end)
    if period != "lifetime":
        assert periods.around(end)[0] == end
        assert periods.around(start - 1)[1] == start


@pytest.mark.parametrize("zone", ZONES)
def test_months_cover_ten_years_in_every_zone(zone):
    periods = Periods("month", date(2024, 1, 31), zone)
    moment_s = int(datetime(2020, 1, 15, tzinfo=UTC).timestamp())
    for _ in range(120):
        start, end = periods.around(moment_s)
        assert periods.around(end - 1) == (start, end)
        local = datetime.fromtimestamp(end, ZoneInfo(zone))
        assert (local + timedelta(days=1)).day == 1  # the last day of its month, from its first instant on
        assert datetime.fromtimestamp(end - 1, ZoneInfo(zone)).date() < local.date()
        moment_s = end
    assert local.date() == date(2029, 12, 31)


@pytest.mark.parametrize(
    ("period", "anchor", "moment", "start", "end"),
    [
        ("month", "2026-01-31", "2026-02-28", "2026-02-28", "2026-03-31"),
        ("month", "2026-01-31", "2028-02-28", "2028-01-31", "2028-02-29"),
        ("month", "2026-01-15", "2026-01-14", "2025-12-15", "2026-01-15"),
        ("quarter", "2025-11-30", "2026-03-01", "2026-02-28", "2026-05-30"),
        ("year", "2024-02-29", "2026-02-27", "2025-02-28", "2026-02-28"),
        ("year", "2024-02-29", "2028-02-28", "2027-02-28", "2028-02-29"),
        ("week", "2026-01-01", "2026-01-07", "2026-01-01", "2026-01-08"),
        ("month", None, "2026-12-31", "2026-12-01", "2027-01-01"),
        ("quarter", None, "2028-02-29", "2028-01-01", "2028-04-01"),
    ],
)
def test_anchors_at_the_end_of_months(period, anchor, moment, start, end):
    periods = Periods(period, date.fromisoformat(anchor) if anchor else None)
    moment_s = int(datetime.fromisoformat(f"{moment}T12:00:00Z").timestamp())
    found = [f"{datetime.fromtimestamp(second, UTC):%Y-%m-%d}" for second in periods.around(moment_s)]
    assert found == [start, end]


@given(period=st.sampled_from(ANCHORED), one=st.none() | dates, other=st.none() | dates, moment_s=moments)
def test_periods_with_the_same_phase_begin_on_the_same_days(period, one, other, moment_s):
    first, second = Periods(period, one), Periods(period, other)
    if first.phase == second.phase:
        assert first.around(moment_s) == second.around(moment_s)


def test_a_lifetime_never_ends():
    assert Periods("lifetime").around(0) == Periods("lifetime").around(2**33) == (0, NEVER_S)
    assert datetime.fromtimestamp(NEVER_S, UTC).year == 9999
