from datetime import UTC, datetime, timedelta

from keygauge_keyservice.api.selection import CallSelection

NOON = datetime(2026, 5, 20, 12, tzinfo=UTC)


def test_range_with_both_ends_is_unchanged():
    assert CallSelection(start=NOON, end=NOON + timedelta(hours=1)).range() == (NOON, NOON + timedelta(hours=1))


def test_range_without_a_start_begins_thirty_days_before_its_end():
    assert CallSelection(end=NOON).range() == (NOON - timedelta(days=30), NOON)


def test_range_without_an_end_ends_now():
    before = datetime.now(UTC)
    start, end = CallSelection(start=NOON).range()
    assert start == NOON
    assert before <= end <= datetime.now(UTC)
