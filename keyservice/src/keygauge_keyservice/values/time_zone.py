"""Time zones: IANA names and ISO 8601 offsets, and nothing ambiguous."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from functools import cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

_is_offset = re.compile(r"([+-])(0[0-9]|1[0-4]):?(00|15|30|45)", re.ASCII).fullmatch  # as all that were ever in use


@cache
def names() -> frozenset[str]:
    """Return the names of all time zones, except those that depend on the host."""
    return frozenset(available_timezones() - {"localtime", "Factory"})


def find(name: str | None) -> ZoneInfo | None:
    """Return a zone by its IANA name, or None."""
    if not name or name not in names():
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return None


def parse(text: str) -> tzinfo | None:
    """Return a zone by its IANA name or offset (`+03:00` is three hours ahead of UTC), or None."""
    if (offset := _is_offset(text)) is None:
        return find(text)
    ahead = timedelta(hours=int(offset[2]), minutes=int(offset[3]))
    return timezone(ahead if offset[1] == "+" else -ahead)


def start_of_day(day: date, zone: tzinfo) -> datetime:
    """Return the first instant of a local date, in UTC: the earlier of two midnights, or the end of the gap."""
    return datetime.combine(day, time(), zone).astimezone(UTC)
