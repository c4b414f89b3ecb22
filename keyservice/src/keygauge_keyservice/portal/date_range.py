"""The time range of a page, from its URL: a preset or two dates, in the reader's time zone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from keygauge_keyservice.texts import gettext, mark
from keygauge_keyservice.usage.buckets import Bucket
from keygauge_keyservice.values.time_zone import start_of_day

PRESETS = {
    "today": mark("Today"),
    "yesterday": mark("Yesterday"),
    "24h": mark("Last 24 hours"),
    "7d": mark("Last 7 days"),
    "30d": mark("Last 30 days"),
    "90d": mark("Last 90 days"),
    "this-month": mark("This month"),
    "last-month": mark("Last month"),
}
_PRESET_DEFAULT = "30d"
_ZONE_DEFAULT = ZoneInfo("UTC")
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
_HOURLY_MAX, _DAILY_MAX, _WEEKLY_MAX = 3 * _DAY, 100 * _DAY, 2 * 366 * _DAY
_BUCKETS_MAX = {"hour": 8 * _DAY, "day": 190 * _DAY, "week": 3660 * _DAY, "month": 3660 * _DAY}
_MINUTE = "%Y-%m-%dT%H:%M"
_LENGTH_MAX = 10 * 366 * _DAY


@dataclass(frozen=True)
class DateRange:
    """A time range, `end` excluded; `preset` is None for custom dates."""

    start: datetime
    end: datetime
    preset: str | None = None
    error: str | None = None  # why the given dates are not shown
    zone: ZoneInfo = _ZONE_DEFAULT

    @property
    def bucket(self) -> Bucket:
        """Return the default width of the charts' bars for the range's length."""
        length = self.end - self.start
        if length <= _HOURLY_MAX:
            return "hour"
        if length <= _DAILY_MAX:
            return "day"
        return "week" if length <= _WEEKLY_MAX else "month"

    @property
    def buckets(self) -> list[Bucket]:
        """Return the widths of bars that make a legible chart of the range."""
        return [bucket for bucket, most in _BUCKETS_MAX.items() if self.end - self.start <= most]  # type: ignore[misc]

    @property
    def first_day(self) -> date:
        """Return the first day that is at least partly shown."""
        return self.start.astimezone(self.zone).date()

    @property
    def last_instant(self) -> datetime:
        """Return the last instant that is shown."""
        return self.end - timedelta(microseconds=1)

    @property
    def last_day(self) -> date:
        """Return the last day that is at least partly shown."""
        return self.last_instant.astimezone(self.zone).date()

    @property
    def query(self) -> dict[str, str]:
        """Return the range as URL parameters."""
        if self.preset:
            return {"range": self.preset}
        ends = [instant.astimezone(self.zone) for instant in (self.start, self.end)]
        if any(instant.time() != time() for instant in ends):
            return {"from": f"{ends[0]:{_MINUTE}}", "to": f"{ends[1]:{_MINUTE}}"}
        return {"from": self.first_day.isoformat(), "to": self.last_day.isoformat()}

    def previous(self, *, now: datetime) -> DateRange:
        """Return the period to compare with: the one before, up to the same elapsed time."""
        passed = min(self.end, max(now, self.start + _HOUR)) - self.start
        if self.preset in {"this-month", "last-month"}:
            start = _month(self.start.astimezone(self.zone), -1)
        else:
            start = self.start - (self.end - self.start)
        return DateRange(start, min(start + passed, self.start), zone=self.zone)


def read(arguments: Mapping[str, str], *, now: datetime, zone: ZoneInfo = _ZONE_DEFAULT) -> DateRange:
    """Read a range from URL parameters; if invalid, return the default range with an error."""
    preset = arguments.get("range", "")
    if preset in PRESETS:  # forms send their dates as well
        return of_preset(preset, now=now, zone=zone)
    if "from" in arguments or "to" in arguments:
        return _custom(arguments.get("from", ""), arguments.get("to", ""), now, zone)
    return of_preset(_PRESET_DEFAULT, now=now, zone=zone)


def of_preset(preset: str, *, now: datetime, zone: ZoneInfo = _ZONE_DEFAULT) -> DateRange:
    """Return a preset's range: whole hours, days or months in the zone, including the current one."""
    local = now.astimezone(zone)
    if preset == "24h":
        end = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0) + _HOUR
        return DateRange(end - _DAY, end, preset, zone=zone)
    if preset in {"this-month", "last-month"}:
        number = -1 if preset == "last-month" else 0
        return DateRange(_month(local, number), _month(local, number + 1), preset, zone=zone)
    if preset == "yesterday":
        return DateRange(start_of_day(local.date() - _DAY, zone), start_of_day(local.date(), zone), preset, zone=zone)
    days = 1 if preset == "today" else int(preset.removesuffix("d"))
    end_day = local.date() + _DAY
    return DateRange(start_of_day(end_day - days * _DAY, zone), start_of_day(end_day, zone), preset, zone=zone)


def _custom(first: str, last: str, now: datetime, zone: ZoneInfo) -> DateRange:
    try:
        if "T" in first:  # times of a chart's bar, the second exclusive
            start, end = (
                datetime.strptime(text, _MINUTE).replace(tzinfo=zone).astimezone(UTC) for text in (first, last)
            )
        else:
            start = start_of_day(date.fromisoformat(first), zone)
            end = start_of_day(date.fromisoformat(last) + _DAY, zone)
    except (ValueError, OverflowError):
        return _fallback(gettext("Enter both dates as YYYY-MM-DD."), now, zone)
    if start >= end:
        return _fallback(gettext("The start date must be before the end date."), now, zone)
    if end - start > _LENGTH_MAX:
        return _fallback(gettext("The range can be at most 10 years."), now, zone)
    return DateRange(start, end, zone=zone)


def _fallback(error: str, now: datetime, zone: ZoneInfo) -> DateRange:
    shown = of_preset(_PRESET_DEFAULT, now=now, zone=zone)
    return replace(shown, error=f"{error} " + gettext("Showing the last 30 days."))


def _month(local: datetime, number: int) -> datetime:
    """Return the start of the month that is `number` months after a local time."""
    year, month = divmod(local.year * 12 + local.month - 1 + number, 12)
    return start_of_day(date(year, month + 1, 1), local.tzinfo)  # type: ignore[arg-type]  # a zone
