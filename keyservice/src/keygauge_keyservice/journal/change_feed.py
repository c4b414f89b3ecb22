"""The change feed: changed keys and plans, numbered in commit order, which replicas read from their cursor on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from keygauge_keyservice.database import Connection
from keygauge_keyservice.journal import epoch as epochs

KEPT = 100_000  # changes; a replica further behind starts over
_PAGE = 1_000  # changes per heartbeat
_LOCK = 0x6B67_0002
_BOUNDS = f"coalesce(min(number), 1) AS oldest, coalesce(max(number), 0) AS newest, {epochs.COLUMNS}"


@dataclass(frozen=True)
class Changes:
    """Changes that a replica has not seen: its next cursor, changed keys and plans, and whether there are more.

    `afresh` means that the replica must forget everything. The cursor is valid in its epoch only.
    """

    cursor: int
    key_ids: list[str]
    plan_ids: list[str] = field(default_factory=list)
    more: bool = False
    afresh: bool = False
    epoch: str = field(default="", compare=False)


def record_keys(connection: Connection, key_ids: Sequence[str]) -> None:
    """Record changed keys; call this last in the transaction that changes them."""
    _lock(connection)
    connection.execute(
        "/* feed.record_keys */ INSERT INTO key_change (number, key_id) "
        "SELECT (SELECT coalesce(max(number), 0) FROM key_change) + row_number() OVER (), key_id "
        "FROM unnest(%s::text[]) AS changed (key_id)",
        (list(key_ids),),
    )
    _prune(connection)


def record_account(connection: Connection, account_id: str) -> None:
    """Record a change of all of an account's keys; call this last in the transaction."""
    _lock(connection)
    connection.execute(
        "/* feed.record_account */ INSERT INTO key_change (number, key_id) "
        "SELECT (SELECT coalesce(max(number), 0) FROM key_change) + row_number() OVER (), id "
        "FROM key WHERE account_id = %s AND status <> 'deleted'",
        (account_id,),
    )
    _prune(connection)


def record_plan(connection: Connection, plan_id: str) -> None:
    """Record a changed plan, once for all of its keys; call this last in the transaction."""
    _lock(connection)
    connection.execute(
        "/* feed.record_plan */ INSERT INTO key_change (number, plan_id) "
        "SELECT (SELECT coalesce(max(number), 0) FROM key_change) + 1, %s",
        (plan_id,),
    )
    _prune(connection)


def read_all(connection: Connection, cursors: Sequence[tuple[int | None, str | None]]) -> list[Changes]:
    """Return the changes after each of many (cursor, epoch) pairs; most are up to date and cost no query."""
    (row,) = connection.execute(f"/* feed.bounds */ SELECT {_BOUNDS} FROM key_change")  # noqa: S608 - a constant
    newest, current = row["newest"], epochs.of(row)
    found = {
        (cursor, epoch): Changes(newest, [], epoch=current)
        if cursor is None or (cursor == newest and epoch == current)
        else read(connection, cursor, epoch=epoch)
        for cursor, epoch in set(cursors)
    }
    return [found[pair] for pair in cursors]


def read(connection: Connection, cursor: int | None, *, epoch: str | None = None) -> Changes:
    """Return the changes after a cursor. Read entries and plans afterwards, so that they are at least as new.

    A cursor of another epoch, older than the oldest change kept or newer than the newest starts over. Numbers are
    reused after a restore, so only the epoch identifies them; without one (older middleware) the current epoch is
    assumed.
    """
    rows = connection.execute(
        "/* feed.read */ SELECT bounds.*, changed.number, changed.key_id, changed.plan_id FROM "  # noqa: S608 - a constant
        f"(SELECT {_BOUNDS} FROM key_change) AS bounds "
        "LEFT JOIN (SELECT * FROM key_change WHERE number > %s ORDER BY number LIMIT %s) AS changed "
        "ON true ORDER BY changed.number",
        (cursor, _PAGE),  # nothing is greater than NULL: a starting replica has no keys that could change
    ).fetchall()
    oldest, newest, current = rows[0]["oldest"], rows[0]["newest"], epochs.of(rows[0])
    if cursor is None:
        return Changes(newest, [], epoch=current)
    if (epoch or current) != current or not oldest - 1 <= cursor <= newest:
        return Changes(newest, [], afresh=True, epoch=current)
    changed = [row for row in rows if row["number"] is not None]
    last = changed[-1]["number"] if changed else cursor
    key_ids, plan_ids = (
        list(dict.fromkeys(row[name] for row in changed if row[name])) for name in ("key_id", "plan_id")
    )
    return Changes(last, key_ids, plan_ids, more=last < newest, epoch=current)


def _lock(connection: Connection) -> None:
    """Serialize the numbering of changes; a plain sequence would number them before they commit."""
    connection.execute("/* feed.lock */ SELECT pg_advisory_xact_lock(%s)", (_LOCK,))


def _prune(connection: Connection) -> None:
    connection.execute(
        "/* feed.prune */ DELETE FROM key_change WHERE number <= (SELECT max(number) FROM key_change) - %s", (KEPT,)
    )
