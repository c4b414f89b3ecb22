from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from keygauge_keyservice.portal import date_range

NOW = datetime(2026, 11, 21, 2, 35, 10, tzinfo=UTC)


def day(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("arguments", "start", "end", "bucket"),
    [
        ({}, "2026-10-23", "2026-11-22", "day"),
        ({"range": "24h"}, "2026-11-20T03:00", "2026-11-21T03:00", "hour"),
        ({"range": "today"}, "2026-11-21", "2026-11-22", "hour"),
        ({"range": "yesterday"}, "2026-11-20", "2026-11-21", "hour"),
        ({"range": "this-month"}, "2026-11-01", "2026-12-01", "day"),
        ({"range": "last-month"}, "2026-10-01", "2026-11-01", "day"),
        ({"range": "7d", "from": "2026-01-01", "to": "2026-01-02"}, "2026-11-15", "2026-11-22", "day"),
        ({"range": "custom", "from": "2026-11-20", "to": "2026-11-21"}, "2026-11-20", "2026-11-22", "hour"),
        ({"range": "7d"}, "2026-11-15", "2026-11-22", "day"),
        ({"range": "90d"}, "2026-08-24", "2026-11-22", "day"),
        ({"range": "nonsense"}, "2026-10-23", "2026-11-22", "day"),
        ({"from": "2026-11-20", "to": "2026-11-21"}, "2026-11-20", "2026-11-22", "hour"),
        ({"from": "2026-01-01", "to": "2026-12-31"}, "2026-01-01", "2027-01-01", "week"),
        ({"from": "2024-01-15", "to": "2026-11-21"}, "2024-01-15", "2026-11-22", "month"),
    ],
)
def test_range_comes_from_the_query_and_determines_the_bucket(arguments, start, end, bucket):
    shown = date_range.read(arguments, now=NOW)
    assert (shown.start, shown.end, shown.bucket) == (day(start), day(end), bucket)
    assert shown.error is None


@pytest.mark.parametrize(
    "arguments",
    [
        {"from": "2026-11-20"},
        {"to": "2026-11-20"},
        {"from": "", "to": ""},
        {"from": "2026-02-30", "to": "2026-03-01"},
        {"from": "2026-11-21", "to": "2026-11-20"},
        {"from": "0001-01-01", "to": "9999-12-31"},
        {"from": "<script>", "to": "\0"},
    ],
)
def test_invalid_dates_are_reported_and_the_default_is_shown(arguments):
    shown = date_range.read(arguments, now=NOW)
    assert shown.preset == "30d"
    assert "Showing the last 30 days" in shown.error


def test_query_round_trips():
    for arguments in ({"range": "90d"}, {"from": "2026-01-01", "to": "2026-12-31"}):
        shown = date_range.read(arguments, now=NOW)
        assert date_range.read(shown.query, now=NOW) == shown


@pytest.mark.parametrize(
    ("preset", "start", "end"),
    [
        ("today", "2026-11-20", "2026-11-20T02:35:10"),
        ("yesterday", "2026-11-19", "2026-11-20"),
        ("this-month", "2026-10-01", "2026-10-21T02:35:10"),
        ("last-month", "2026-09-01", "2026-10-01"),
        ("7d", "2026-11-08", "2026-11-14T02:35:10"),
    ],
)
def test_previous_period_is_as_long_as_the_elapsed_part(preset, start, end):
    before = date_range.of_preset(preset, now=NOW).previous(now=NOW)
    assert (before.start, before.end) == (day(start), day(end))


def test_days_begin_and_end_in_the_zone_across_a_clock_change():
    zone = ZoneInfo("Europe/Berlin")
    shown = date_range.read({"from": "2026-10-25", "to": "2026-10-25"}, now=NOW, zone=zone)
    assert (shown.start, shown.end) == (day("2026-10-24T22:00"), day("2026-10-25T23:00"))
    assert (shown.first_day, shown.last_day) == (date(2026, 10, 25), date(2026, 10, 25))
    assert date_range.read(shown.query, now=NOW, zone=zone) == shown
