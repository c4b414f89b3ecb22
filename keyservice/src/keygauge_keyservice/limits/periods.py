"""Periods of quotas: calendar periods with a time zone and an anchor date, or one that never ends."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Literal

from keygauge_keyservice.values import time_zone

Period = Literal["hour", "day", "week", "month", "quarter", "year", "lifetime"]
ANCHORED: tuple[Period, ...] = ("week", "month", "quarter", "year")
ZONED: tuple[Period, ...] = ("day", *ANCHORED)
NEVER_S = 253_402_214_400  # the end of a lifetime: 9999-12-31, the last valid date
_HOUR_S = 3_600
_FIRST = date(2024, 1, 1)  # a Monday that starts a week, a month, a quarter and a year
_DAY = timedelta(days=1)
_MONTHS = {"month": 1, "quarter": 3, "year": 12}
_BEYOND = {  # added to a period's first day, a day of the next period
    "day": _DAY,
    "week": timedelta(weeks=1),
    "month": timedelta(days=32),
    "quarter": timedelta(days=93),
    "year": timedelta(days=367),
}


@dataclass(frozen=True)
class Periods:
    """Consecutive periods of one type; every time is in exactly one.

    Days are local to `zone`, an IANA name (default UTC), and begin with the first instant of their date. Longer periods
    begin on the day of `anchor`, or on the last day of a month that is too short for it. Without an anchor, they follow
    the calendar, with weeks from Monday.
    """

    period: Period
    anchor: date | None = None
    zone: str | None = None

    @property
    def phase(self) -> tuple[int, ...]:
        """Return the relevant part of the anchor: periods with equal phases begin on the same days."""
        anchor = self.anchor or _FIRST
        if self.period == "week":
            return (anchor.weekday(),)
        if self.period in _MONTHS:
            return anchor.month % _MONTHS[self.period], anchor.day
        return ()

    def around(self, moment_s: int) -> tuple[int, int]:
        """Return the first second of the period that contains a time, and the first second after the period."""
        if self.period == "lifetime":
            return 0, NEVER_S
        if self.period == "hour":
            start_s = moment_s // _HOUR_S * _HOUR_S
            return start_s, start_s + _HOUR_S
        zone = time_zone.find(self.zone) or UTC
        day = datetime.fromtimestamp(moment_s, zone).date()
        if _first_s(day + _DAY, zone) <= moment_s:  # clocks were set back over midnight: the next day has begun
            day += _DAY
        first = self._first_day(day)
        return _first_s(first, zone), _first_s(self._first_day(first + _BEYOND[self.period]), zone)

    def _first_day(self, day: date) -> date:
        """Return the first day of the period that contains a day."""
        anchor = self.anchor or _FIRST
        if self.period == "day":
            return day
        if self.period == "week":
            return day - timedelta(days=(day - anchor).days % 7)
        step = _MONTHS[self.period]
        months = 12 * (day.year - anchor.year) + day.month - anchor.month
        months -= months % step
        first = _months_after(anchor, months)
        return first if first <= day else _months_after(anchor, months - step)


def _months_after(anchor: date, months: int) -> date:
    """Return the same day of another month, or that month's last day."""
    years, month = divmod(anchor.month - 1 + months, 12)
    first = date(anchor.year + years, month + 1, 1)
    last = (first + timedelta(days=31)).replace(day=1) - _DAY
    return first.replace(day=min(anchor.day, last.day))


def _first_s(day: date, zone: tzinfo) -> int:
    return int(time_zone.start_of_day(day, zone).timestamp())
