"""Forecast of the current month's cost: the cost so far, plus the last week's average for the rest."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from keygauge_keyservice.database import Connection
from keygauge_keyservice.usage import usage

_PACE = timedelta(days=7)
_QUARTER = timedelta(minutes=15)


@dataclass(frozen=True)
class Forecast:
    """A UTC month's cost so far, and its expected total at the last seven days' average pace."""

    start: datetime
    end: datetime
    so_far_nanousd: int
    pace_nanousd: int  # per day
    expected_nanousd: int


def find_forecast(
    connection: Connection, account_id: str | None, *, key_id: str | None = None, now: datetime | None = None
) -> Forecast:
    """Forecast the current month's cost of an account, of one of its keys, or of all accounts.

    expected = so far + average of the last 7 x 24 hours x the remaining time. The average is always over the full week,
    so the forecast is too low for an account that made its first call more recently.
    """
    now = now or datetime.now(UTC)
    start, end = month_of(now)
    until = max(now, start + _QUARTER)
    so_far = usage.cost(connection, account_id=account_id, key_id=key_id, start=start, end=until)
    week_start, week_end = usage.quarters(now - _PACE, now)
    week_nanousd = usage.cost(connection, account_id=account_id, key_id=key_id, start=week_start, end=week_end)
    left = (end - now) // timedelta(seconds=1)
    length = (week_end - week_start) // timedelta(seconds=1)
    return Forecast(
        start=start,
        end=end,
        so_far_nanousd=so_far,
        pace_nanousd=week_nanousd * 86_400 // length,
        expected_nanousd=so_far + week_nanousd * left // length,
    )


def month_of(instant: datetime) -> tuple[datetime, datetime]:
    """Return the start and end of the UTC month that contains a time."""
    start = instant.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return start, (start + timedelta(days=32)).replace(day=1)
