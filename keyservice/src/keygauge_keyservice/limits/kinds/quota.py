"""The budget: so many units in each calendar period of UTC; weeks begin on Monday."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from keygauge_keyservice.limits.definitions import Period
from keygauge_keyservice.limits.fair_share import clamp
from keygauge_keyservice.limits.grant import Counter, Grant

LEASE_US = 30_000_000  # how long a replica may hold units it does not spend
_SECOND_US = 1_000_000
_MONTHS = {"month": 1, "quarter": 3, "year": 12}
_BEYOND: dict[Period, timedelta] = {  # from a period's start, a moment of the next one
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
    "month": timedelta(days=32),
    "quarter": timedelta(days=93),
    "year": timedelta(days=367),
}


def start_s(now_us: int, period: Period) -> int:
    """Return the first second of the period that holds a moment."""
    return int(_start(now_us, period).timestamp())


def end_s(start: int, period: Period) -> int:
    """Return the first second after the period that starts then."""
    later = datetime.fromtimestamp(start, UTC) + _BEYOND[period]
    return start_s(int(later.timestamp()) * _SECOND_US, period)


def advance(counter: Counter, *, now_us: int, period: Period) -> Counter:
    """Move on to the period of now; a clock that was set back never moves a counter back."""
    head = start_s(now_us, period)
    return Counter(head, (0,)) if head > counter.head else counter


def grant(
    counter: Counter,
    *,
    now_us: int,
    amount: int,
    period: Period,
    want: int,
    replicas: int = 1,
    waiting: int = 1,
) -> Grant[Counter]:
    """Give what the budget allows of the units wanted, and say when the next period starts."""
    counter = advance(counter, now_us=now_us, period=period)
    units = clamp(want, remaining=counter.room(amount), replicas=replicas, waiting=waiting)
    counter = counter.take(units)
    end_us = end_s(counter.head, period) * _SECOND_US
    return Grant(
        state=counter,
        units=units,
        remaining=counter.room(amount),
        ends_us=min(end_us, now_us + LEASE_US),
        reset_us=end_us - now_us,
    )


def _start(now_us: int, period: Period) -> datetime:
    hour = datetime.fromtimestamp(now_us // _SECOND_US, UTC).replace(minute=0, second=0, microsecond=0)
    midnight = hour.replace(hour=0)
    if period == "hour":
        return hour
    if period == "day":
        return midnight
    if period == "week":
        return midnight - timedelta(days=midnight.weekday())
    months = _MONTHS[period]
    return midnight.replace(month=(midnight.month - 1) // months * months + 1, day=1)
