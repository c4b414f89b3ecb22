"""What the current month will cost: what it cost so far, and the last week's pace for the rest of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from keygauge_keyservice.database import Connection
from keygauge_keyservice.usage import usage

_PACE = timedelta(days=7)
_QUARTER = timedelta(minutes=15)


@dataclass(frozen=True)
class Forecast:
    """A UTC month's cost: so far, and as it will be when it goes on at the last seven days' average pace."""

    start: datetime
    end: datetime
    so_far_nanousd: int
    pace_nanousd: int  # of a whole day
    expected_nanousd: int


def find_forecast(
    connection: Connection, account_id: str | None, *, key_id: str | None = None, now: datetime | None = None
) -> Forecast:
    """Forecast the cost of an account, of one of its keys, or of everyone.

    expected = so far + average of the last 7 x 24 hours x the time that is left. An account whose first call is younger
    than that goes on at a slower pace than its own: the week counts whole.
    """
    now = now or datetime.now(UTC)
    start, end = month_of(now)
    until = max(now, start + _QUARTER)
    so_far = usage.totals(connection, account_id=account_id, key_id=key_id, start=start, end=until).cost_nanousd
    week = usage.totals(connection, account_id=account_id, key_id=key_id, start=now - _PACE, end=now)
    left = (end - now) // timedelta(seconds=1)
    length = (week.end - week.start) // timedelta(seconds=1)
    return Forecast(
        start=start,
        end=end,
        so_far_nanousd=so_far,
        pace_nanousd=week.cost_nanousd * 86_400 // length,
        expected_nanousd=so_far + week.cost_nanousd * left // length,
    )


def month_of(moment: datetime) -> tuple[datetime, datetime]:
    """Return the first moment of a moment's UTC month, and of the next one."""
    start = moment.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return start, (start + timedelta(days=32)).replace(day=1)
