"""Retention of all growing tables, applied once a day."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import NamedTuple

from psycopg import sql

from keygauge_keyservice.database import Connection
from keygauge_keyservice.ledger import partition
from keygauge_keyservice.ledger.event import AGE_MAX

_log = logging.getLogger(__name__)

_ROWS = 10_000  # deleted per statement, so that none holds locks for long
_DAY = timedelta(days=1)


class Kept(NamedTuple):
    """A table whose rows are deleted after a period; None: the retention period of individual calls."""

    table: str
    column: str
    period: timedelta | None


KEPT = (
    Kept("spool_hour", "hour", None),
    Kept("key_address", "last_at", None),
    # Keep a cursor as long as its spool's events could be ingested again if resent.
    Kept("spool", "updated_at", AGE_MAX + 2 * _DAY),
    Kept("lease", "ends_at", _DAY),
    Kept("replica", "seen_at", _DAY),
    Kept("idempotency", "created_at", 2 * _DAY),
    Kept("session", "ends_at", _DAY),
    Kept("invitation", "ends_at", 30 * _DAY),
    Kept("sign_in_failure", "at", _DAY),
    Kept("event_aside", "at", 90 * _DAY),
    Kept("dismissed_alert", "at", 30 * _DAY),
    Kept("notice", "created_at", 400 * _DAY),  # a condition that lasts longer is notified again
    Kept("audit", "at", 3660 * _DAY),
    Kept("plan_price_before", "until", 3660 * _DAY),
    Kept("account_plan_before", "until", 3660 * _DAY),
    Kept("usage_kind", "bucket", 3660 * _DAY),  # the longest range that can be queried
    Kept("usage_tag", "bucket", 3660 * _DAY),
)


def prune(connection: Connection, now: datetime, *, retention_days: int) -> None:
    """Delete expired rows; the connection must be in autocommit mode."""
    calls = timedelta(days=retention_days)
    for month in partition.drop_before(connection, now - calls):
        _log.info("dropped the calls of %s, which were kept for %d days", f"{month:%Y-%m}", retention_days)
    for kept in KEPT:
        _delete_before(connection, kept, now - (calls if kept.period is None else kept.period))


def _delete_before(connection: Connection, kept: Kept, oldest: datetime) -> None:
    statement = sql.SQL(
        "/* retention.prune */ DELETE FROM {table} WHERE ctid = ANY(ARRAY("
        "SELECT ctid FROM {table} WHERE {column} < %s LIMIT %s))"
    ).format(table=sql.Identifier(kept.table), column=sql.Identifier(kept.column))
    while connection.execute(statement, (oldest, _ROWS)).rowcount == _ROWS:
        pass
