from datetime import UTC, datetime

import pytest

from keygauge_keyservice.portal import span

NOW = datetime(2026, 11, 21, 2, 35, 10, tzinfo=UTC)


def day(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("arguments", "start", "end", "bucket"),
    [
        ({}, "2026-10-23", "2026-11-22", "day"),
        ({"range": "24h"}, "2026-11-20T03:00", "2026-11-21T03:00", "hour"),
        ({"range": "7d"}, "2026-11-15", "2026-11-22", "day"),
        ({"range": "90d"}, "2026-08-24", "2026-11-22", "day"),
        ({"range": "nonsense"}, "2026-10-23", "2026-11-22", "day"),
        ({"from": "2026-11-20", "to": "2026-11-21"}, "2026-11-20", "2026-11-22", "hour"),
        ({"from": "2026-01-01", "to": "2026-12-31"}, "2026-01-01", "2027-01-01", "week"),
        ({"from": "2024-01-15", "to": "2026-11-21"}, "2024-01-15", "2026-11-22", "month"),
    ],
)
def test_range_follows_the_address_and_the_bars_the_range(arguments, start, end, bucket):
    shown = span.read(arguments, now=NOW)
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
def test_bad_dates_are_told_and_the_default_is_shown(arguments):
    shown = span.read(arguments, now=NOW)
    assert shown.preset == "30d"
    assert "Showing the last 30 days" in shown.error


def test_address_leads_back_to_the_same_range():
    for arguments in ({"range": "90d"}, {"from": "2026-01-01", "to": "2026-12-31"}):
        shown = span.read(arguments, now=NOW)
        assert span.read(shown.query, now=NOW) == shown
