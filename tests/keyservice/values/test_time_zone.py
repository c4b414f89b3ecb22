from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from keygauge_keyservice.values import time_zone


@pytest.mark.parametrize(
    ("text", "hours"), [("+03:00", 3), ("-0530", -5.5), ("+00:00", 0), ("UTC", 0), ("Asia/Kolkata", 5.5)]
)
def test_names_and_offsets_are_parsed(text, hours):
    zone = time_zone.parse(text)
    assert datetime(2026, 1, 1, tzinfo=zone).utcoffset() == timedelta(hours=hours)


@pytest.mark.parametrize(
    "text",
    [
        "UTC+3",
        "Foo+5",
        "GMT-3:00",
        "<+03>-03",
        "+3",
        "+15:00",
        "+05:07",
        "03:00",
        "",
        "posixrules",
        "localtime",
        "../etc/passwd",
    ],
)
def test_ambiguous_or_invalid_zones_are_none(text):
    assert time_zone.parse(text) is None


@pytest.mark.parametrize(
    ("zone", "day", "first"),
    [
        ("Atlantic/Azores", date(2026, 10, 25), datetime(2026, 10, 25, 0, tzinfo=UTC)),  # midnight occurs twice
        ("America/Santiago", date(2026, 9, 6), datetime(2026, 9, 6, 4, tzinfo=UTC)),  # there is no midnight
        ("Asia/Beirut", date(2026, 3, 29), datetime(2026, 3, 28, 22, tzinfo=UTC)),  # as above
    ],
)
def test_day_begins_at_the_first_instant_of_its_date(zone, day, first):
    local = ZoneInfo(zone)
    assert time_zone.start_of_day(day, local) == first
    assert first.astimezone(local).date() == day
    assert (first - timedelta(seconds=1)).astimezone(local).date() == day - timedelta(days=1)
