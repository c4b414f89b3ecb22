"""The ledger's monthly partitions: created before a month's first event, and dropped after its retention."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from time import sleep

from psycopg.errors import LockNotAvailable
from psycopg.rows import DictRow

from keygauge_keyservice.database import Connection

_LOCK = 0x6B67_0003
_MONTH_DAYS_MAX = 31
_DROP_TRIES = 60
_PAUSE_S = 1.0  # between tries, so that waiting transactions can proceed
PRESENT = (
    "/* partition.list */ SELECT child.relname AS name FROM pg_inherits "
    "JOIN pg_class AS child ON child.oid = inhrelid WHERE inhparent = 'event'::regclass "
    "AND relname ~ '^event_[0-9]{4}_[0-9]{2}$'"  # an operator may have attached other tables
)
_HURRY = "/* partition.hurry */ SET LOCAL lock_timeout = '300ms'"


class PartitionError(RuntimeError):
    """A partition cannot be dropped at this time."""


def month_of(time: datetime) -> date:
    """Return the first day of a time's month in UTC."""
    return time.astimezone(UTC).date().replace(day=1)


def ensure(connection: Connection, months: Iterable[date]) -> None:
    """Create missing partitions in a transaction that does not wait for readers or writers of other months."""
    if missing := sorted(set(months) - present(connection)):
        with connection.transaction():
            connection.execute("/* partition.lock */ SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            for month in sorted(set(missing) - present(connection)):
                connection.execute("/* partition.create */ SELECT make_event_month(%s)", (month,))


def prepare(connection: Connection, time: datetime, *, months_ahead: int) -> None:
    """Create the partitions of a time's month and of the following months, without waiting long for locks.

    Raises:
        LockNotAvailable: the event table is locked; since this runs ahead of time, it can be retried later.
    """
    months = [month_of(time)]
    while len(months) <= months_ahead:
        months.append(_next(months[-1]))
    with connection.transaction():
        connection.execute(_HURRY)
        ensure(connection, months)


def drop_before(connection: Connection, time: datetime, *, tries: int = _DROP_TRIES) -> list[date]:
    """Drop the partitions whose events are all older than a time, and return their months.

    Each drop waits for its lock only briefly and is retried, because batches and readers queue up behind it.

    Raises:
        PartitionError: a transaction held a month's table during all tries; earlier months have been dropped.
    """
    old = sorted(month for month in present(connection) if _next(month) <= time.astimezone(UTC).date())
    for month in old:
        _drop(connection, month, tries)
    return old


def _drop(connection: Connection, month: date, tries: int) -> None:
    for _ in range(tries):
        try:
            with connection.transaction():
                connection.execute(_HURRY)
                connection.execute("/* partition.lock */ SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
                connection.execute("/* partition.drop */ SELECT drop_event_month(%s)", (month,))
        except LockNotAvailable:
            sleep(_PAUSE_S)
        else:
            return
    raise PartitionError(f"a transaction reads the events of {month:%Y-%m} all the time: end it and prune again")


def present(connection: Connection) -> set[date]:
    """Return the months that have a partition."""
    with connection.transaction():
        return months_of(connection.execute(PRESENT))


def months_of(rows: Iterable[DictRow]) -> set[date]:
    """Return the months in the result of `PRESENT`."""
    return {datetime.strptime(row["name"], "event_%Y_%m").replace(tzinfo=UTC).date() for row in rows}


def _next(month: date) -> date:
    return (month + timedelta(days=_MONTH_DAYS_MAX)).replace(day=1)
