"""Packing of roll-ups: a past half day becomes one row per key, route, model and status class."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from psycopg import sql

from keygauge_keyservice.database import Connection
from keygauge_keyservice.ledger.aggregate import ALL_SUMS, NUMBERS
from keygauge_keyservice.ledger.rollup import PACKED_S

_HALF_DAY = timedelta(seconds=PACKED_S)
_OPEN = timedelta(days=1)  # how long after its end a half day still gets late calls
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LOCK_ID = 0x6B67_0007
_ROW = sql.SQL("key_id, route, model, status_class")
_SUMS = [name for name in ALL_SUMS if name not in {"client_errors", "server_errors"}]  # implied by the status class
_NAMES = sql.SQL(", ").join(map(sql.Identifier, _SUMS))

_DUE = """/* rollup.due */
SELECT DISTINCT account_id, date_bin('12 hours', bucket, 'epoch') AS half_day FROM rollup_recent WHERE bucket < %s
ORDER BY 2, 1"""
# Rows are locked in the same order as by batches. What a late batch adds meanwhile goes to new rows, to be packed next
# time. A half day that was packed before is packed again together with its new rows.
_PACK = sql.SQL("""/* rollup.pack */
WITH locked AS (
    SELECT bucket, {row} FROM rollup_recent
    WHERE account_id = %(account)s AND bucket >= %(first)s AND bucket < %(last)s
    ORDER BY account_id, bucket, {row} FOR UPDATE
), recent AS (
    DELETE FROM rollup_recent AS part USING locked
    WHERE account_id = %(account)s AND part.bucket = locked.bucket
    AND (part.key_id, part.route, part.model, part.status_class)
        = (locked.key_id, locked.route, locked.model, locked.status_class)
    RETURNING part.*
), packed AS (
    DELETE FROM rollup_packed WHERE account_id = %(account)s AND half_day = %(first)s RETURNING *
), quarter AS (
    SELECT {row}, quarter, {added}
    FROM (
        SELECT {row}, (extract(epoch FROM bucket - %(first)s) / 900)::smallint AS quarter, {names} FROM recent
        UNION ALL
        SELECT {row}, part.* FROM packed CROSS JOIN LATERAL unnest(quarters, {names}) AS part
    ) AS parts
    GROUP BY {row}, quarter
)
INSERT INTO rollup_packed (account_id, half_day, {row}, quarters, {names})
SELECT %(account)s, %(first)s, {row}, array_agg(quarter), {arrays} FROM quarter GROUP BY {row}""").format(
    row=_ROW,
    names=_NAMES,
    added=sql.SQL(", ").join(
        sql.SQL("sum({0})::{1} AS {0}").format(
            sql.Identifier(name), sql.SQL("numeric" if name in NUMBERS else "bigint")
        )
        for name in _SUMS
    ),
    arrays=sql.SQL(", ").join(
        sql.SQL("CASE WHEN bool_or({0} <> 0) THEN array_agg(nullif({0}, 0)) END").format(sql.Identifier(name))
        for name in _SUMS
    ),
)


def pack(connection: Connection, now: datetime) -> int:
    """Pack the half days that ended at least a day ago, one transaction per account and half day; return how many."""
    before = now - _OPEN - (now - _EPOCH) % _HALF_DAY
    due = connection.execute(_DUE, (before,)).fetchall()
    for row in due:
        with connection.transaction():
            connection.execute("/* rollup.prepare */ SET LOCAL statement_timeout = 0")
            connection.execute("/* rollup.lock */ SELECT pg_advisory_xact_lock(%s)", (_LOCK_ID,))
            first = row["half_day"]
            connection.execute(_PACK, {"account": row["account_id"], "first": first, "last": first + _HALF_DAY})
    return len(due)
