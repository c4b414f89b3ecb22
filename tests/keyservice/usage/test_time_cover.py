from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keygauge_keyservice.ledger.aggregate import LENGTHS_S
from keygauge_keyservice.usage.time_cover import cut

QUARTER_S = 900
START = datetime(2026, 3, 1, tzinfo=UTC)
quarters = st.integers(0, 96 * 100)


def count_of(time_covers):
    return sum((time_cover.last_s - time_cover.first_s) // time_cover.length_s for time_cover in time_covers)


@given(first=quarters, length=st.integers(1, 96 * 100), lengths_s=st.sampled_from([LENGTHS_S, (86_400, 900), (900,)]))
def test_time_covers_add_up_to_exactly_the_range(first, length, lengths_s):
    start, end = START + first * timedelta(minutes=15), START + (first + length) * timedelta(minutes=15)
    count = {}
    for time_cover in cut(start, end, lengths_s):
        assert time_cover.first_s % time_cover.length_s == time_cover.last_s % time_cover.length_s == 0
        assert time_cover.length_s in lengths_s
        for at in range(time_cover.first_s, time_cover.last_s, QUARTER_S):
            count[at] = count.get(at, 0) + time_cover.sign
    expected = range(int(start.timestamp()), int(end.timestamp()), QUARTER_S)
    assert {at: times for at, times in count.items() if times} == dict.fromkeys(expected, 1)


@given(first=quarters, length=st.integers(1, 96 * 100))
def test_up_to_a_hundred_days_take_few_buckets(first, length):
    start, end = START + first * timedelta(minutes=15), START + (first + length) * timedelta(minutes=15)
    assert count_of(cut(start, end, LENGTHS_S)) <= 15 + 2 * (4 + 6 + 4)


@pytest.mark.parametrize(
    ("hours", "count"),
    [((0, 24), 1), ((0, 2), 1), ((1, 2), 4), ((0, 22), 2), ((0, 7 * 24), 3), ((23.5, 24.5), 4)],
)
def test_the_cover_with_fewer_buckets_is_used(hours, count):
    start = datetime(2026, 3, 4, tzinfo=UTC)  # a Wednesday; weeks since 1970 start on Thursdays
    start, end = (start + timedelta(hours=hour) for hour in hours)
    assert count_of(cut(start, end, LENGTHS_S)) == count
