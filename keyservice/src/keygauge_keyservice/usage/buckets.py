"""Start times of buckets in local time: the first instant of each hour, date, week or month."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta, tzinfo
from typing import Literal, TypeAlias

from keygauge_keyservice.values.time_zone import start_of_day

Bucket: TypeAlias = Literal["hour", "day", "week", "month"]

_QUARTER = timedelta(minutes=15)  # clock changes and range ends are multiples of it


def starts(start: datetime, end: datetime, bucket: Bucket, zone: tzinfo) -> list[datetime]:
    """Return the start times of the buckets that overlap a range; the first may start before the range."""
    found = _hours(start, end, zone) if bucket == "hour" else _dates(start, end, bucket, zone)
    return list(dict.fromkeys(found))


def _hours(start: datetime, end: datetime, zone: tzinfo) -> Iterator[datetime]:
    instant = start
    while instant < end:
        local = instant.astimezone(zone)
        yield instant - timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
        instant += _QUARTER


def _dates(start: datetime, end: datetime, bucket: Bucket, zone: tzinfo) -> Iterator[datetime]:
    day = _first_date(start.astimezone(zone).date(), bucket)
    last = (end - _QUARTER).astimezone(zone).date()
    while day <= last:
        yield start_of_day(day, zone)
        day = _first_date(day + timedelta(days={"day": 1, "week": 7, "month": 32}[bucket]), bucket)


def _first_date(day: date, bucket: Bucket) -> date:
    """Return the first date of the bucket that contains a date."""
    if bucket == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if bucket == "month" else day
