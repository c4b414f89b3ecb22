"""Retention of all growing tables, applied once a day."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import NamedTuple

from psycopg import sql

from keygauge_keyservice import citus
from keygauge_keyservice.database import Connection
from keygauge_keyservice.ledger import partition
from keygauge_keyservice.ledger.event import AGE_MAX

_log = logging.getLogger(__name__)

_ROWS = 10_000  # deleted per statement, so that none holds locks for long
_DAY = timedelta(days=1)


class RetentionRule(NamedTuple):
    """A table whose rows are deleted after a period; None: the retention period of individual calls."""

    table: str
    column: str
    period: timedelta | None


RULES = (
    RetentionRule("spool_hour", "hour", None),
    RetentionRule("key_address", "last_at", None),
    # Keep a cursor as long as its spool's events could be ingested again if resent.
    RetentionRule("spool", "updated_at", AGE_MAX + 2 * _DAY),
    RetentionRule("lease", "ends_at", _DAY),
    RetentionRule("replica", "seen_at", _DAY),
    RetentionRule("idempotency", "created_at", 2 * _DAY),
    RetentionRule("session", "ends_at", _DAY),
    RetentionRule("token", "revoked_at", 400 * _DAY),
    RetentionRule("token", "expires_at", 400 * _DAY),
    RetentionRule("invitation", "ends_at", 30 * _DAY),
    RetentionRule("sign_in_failure", "at", _DAY),
    RetentionRule("event_aside", "at", 90 * _DAY),
    RetentionRule("dismissed_alert", "at", 30 * _DAY),
    RetentionRule("notice", "created_at", 400 * _DAY),  # a condition that lasts longer is notified again
    RetentionRule("audit", "at", 3660 * _DAY),
    RetentionRule("plan_price_before", "until", 3660 * _DAY),
    RetentionRule("account_plan_before", "until", 3660 * _DAY),
    RetentionRule("usage_kind", "bucket", 3660 * _DAY),  # the longest range that can be queried
    RetentionRule("usage_tag", "bucket", 3660 * _DAY),
)


def prune(connection: Connection, now: datetime, *, retention_days: int) -> None:
    """Delete expired rows; the connection must be in autocommit mode.

    Partitions come last, as a long transaction that reads calls keeps them from being dropped.

    Raises:
        PartitionError: such a transaction does; everything else is pruned.
    """
    calls = timedelta(days=retention_days)
    for rule in RULES:
        _delete_before(connection, rule, now - (calls if rule.period is None else rule.period))
    for month in partition.drop_before(connection, now - calls):
        _log.info("dropped the calls of %s, which were kept for %d days", f"{month:%Y-%m}", retention_days)


def statement(rule: RetentionRule) -> sql.Composed:
    """Return the statement that deletes rows older than `oldest`: at most `rows`, or all from tables for Citus.

    Citus would run it on each shard, where the ctid of a row to delete is that of another row.
    """
    text = "/* retention.prune */ DELETE FROM {table} WHERE {column} < %(oldest)s"
    if rule.table not in citus.TABLES:
        text += " AND ctid = ANY(ARRAY(SELECT ctid FROM {table} WHERE {column} < %(oldest)s LIMIT %(rows)s))"
    return sql.SQL(text).format(table=sql.Identifier(rule.table), column=sql.Identifier(rule.column))


def _delete_before(connection: Connection, rule: RetentionRule, oldest: datetime) -> None:
    """Delete a table's expired rows, however long it takes to find them: few tables have an index for that."""
    deleted = _ROWS
    while deleted >= _ROWS:
        with connection.transaction():
            connection.execute("/* retention.prepare */ SET LOCAL statement_timeout = 0")
            deleted = connection.execute(statement(rule), {"oldest": oldest, "rows": _ROWS}).rowcount
