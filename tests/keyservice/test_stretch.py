from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from keygauge_keyservice.stretch import cut

QUARTER = timedelta(minutes=15)
START = datetime(2026, 3, 1, tzinfo=UTC)
quarters = st.integers(0, 96 * 40)


@given(first=quarters, length=st.integers(1, 96 * 40))
def test_stretches_add_up_to_the_range_quarter_by_quarter(first, length):
    start, end = START + first * QUARTER, START + (first + length) * QUARTER
    count = {}
    for stretch in cut(start, end):
        at = stretch.first
        while at < stretch.last:
            count[at] = count.get(at, 0) + stretch.sign
            at += QUARTER
        if stretch.length_s == 86_400:
            assert {edge.hour + edge.minute for edge in (stretch.first, stretch.last)} == {0}
    assert {at for at, times in count.items() if times} == {start + number * QUARTER for number in range(length)}
    assert set(count.values()) <= {0, 1}


@given(first=quarters, length=quarters.filter(bool))
def test_edges_are_never_longer_than_a_day_in_all(first, length):
    start, end = START + first * QUARTER, START + (first + length) * QUARTER
    edges = [stretch for stretch in cut(start, end) if stretch.length_s == 900]
    assert sum((edge.last - edge.first for edge in edges), timedelta()) <= timedelta(days=1) + QUARTER
