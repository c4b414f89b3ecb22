"""The range of time a page shows, as its address says it: a preset or two dates, in UTC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from keygauge_keyservice.usage import Bucket

PRESETS = {"24h": "24 hours", "7d": "7 days", "30d": "30 days", "90d": "90 days"}
_PRESET_DEFAULT = "30d"
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
_HOURLY_MAX, _DAILY_MAX, _WEEKLY_MAX = 3 * _DAY, 100 * _DAY, 2 * 366 * _DAY
_MINUTE = "%Y-%m-%dT%H:%M"
_LENGTH_MAX = 10 * 366 * _DAY


@dataclass(frozen=True)
class Span:
    """From a moment to before another; `preset` is None where two dates were given."""

    start: datetime
    end: datetime
    preset: str | None = None
    error: str | None = None  # why the dates given are not what is shown

    @property
    def bucket(self) -> Bucket:
        """Return the width of the charts' bars, which follows the range's length."""
        length = self.end - self.start
        if length <= _HOURLY_MAX:
            return "hour"
        if length <= _DAILY_MAX:
            return "day"
        return "week" if length <= _WEEKLY_MAX else "month"

    @property
    def last_day(self) -> date:
        """Return the last day that is shown, at least in part."""
        return (self.end - timedelta(microseconds=1)).date()

    @property
    def query(self) -> dict[str, str]:
        """Return the range as parts of an address."""
        if self.preset:
            return {"range": self.preset}
        if any(moment.time() != time() for moment in (self.start, self.end)):
            return {"from": f"{self.start:{_MINUTE}}", "to": f"{self.end:{_MINUTE}}"}
        return {"from": self.start.date().isoformat(), "to": self.last_day.isoformat()}


def read(arguments: Mapping[str, str], *, now: datetime) -> Span:
    """Read a range from an address; what is wrong there is told and the default shown instead."""
    if "from" in arguments or "to" in arguments:
        return _custom(arguments.get("from", ""), arguments.get("to", ""), now)
    preset = arguments.get("range", "")
    return of_preset(preset if preset in PRESETS else _PRESET_DEFAULT, now=now)


def of_preset(preset: str, *, now: datetime) -> Span:
    """Return a preset's range: whole hours or whole UTC days, the current one included."""
    hour = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    if preset == "24h":
        end = hour + _HOUR
        return Span(end - _DAY, end, preset)
    end = hour.replace(hour=0) + _DAY
    return Span(end - int(preset.removesuffix("d")) * _DAY, end, preset)


def _custom(first: str, last: str, now: datetime) -> Span:
    try:
        if "T" in first:  # a bar's moments: the second is the first one that is not in it
            start, end = (datetime.strptime(text, _MINUTE).replace(tzinfo=UTC) for text in (first, last))
        else:
            start = datetime.combine(date.fromisoformat(first), time(), UTC)
            end = datetime.combine(date.fromisoformat(last), time(), UTC) + _DAY
    except (ValueError, OverflowError):
        return _fallback("Enter both dates as YYYY-MM-DD.", now)
    if start >= end:
        return _fallback("The start date must be before the end date.", now)
    if end - start > _LENGTH_MAX:
        return _fallback("The range can be at most 10 years.", now)
    return Span(start, end)


def _fallback(error: str, now: datetime) -> Span:
    span = of_preset(_PRESET_DEFAULT, now=now)
    return Span(span.start, span.end, span.preset, f"{error} Showing the last {PRESETS[_PRESET_DEFAULT]}.")
