"""The audit log: who changed what; append-only, without secrets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from keygauge_keyservice.database import Connect, Connection

PAGE_MAX = 500

Sort = Literal["time", "-time"]
_ORDERS = {"time": (">", "ASC"), "-time": ("<", "DESC")}  # entries are numbered in the order of time


@dataclass(frozen=True)
class Entry:
    """One action; `before` and `after` contain only what it changed."""

    id: int
    at: datetime
    account_id: str | None
    actor: str
    action: str
    subject: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


def append(
    connection: Connection,
    *,
    account_id: str | None,
    actor: str,
    action: str,
    subject: str,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Record an action in the transaction that performs it; `before` and `after` contain only what it changed."""
    connection.execute(
        "/* audit.append */ INSERT INTO audit (account_id, actor, action, subject, before, after) "
        "VALUES (%s, %s, %s, %s, %s, %s)",
        (account_id, actor, action, subject, _json(before), _json(after)),
    )


def find_entries(
    connection: Connection,
    account_id: str | None,
    *,
    action: str | None = None,
    subject: str | None = None,
    actor: str | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    sort: Sort = "-time",
    after: int | None = None,
    limit: int = 50,
) -> list[Entry]:
    """Return up to `limit` entries of an account (None: of all) that follow the one with the id `after`.

    `action` is a full name, such as key.create, or a prefix, such as key.
    """
    beyond, direction = _ORDERS[sort]
    with connection.cursor(row_factory=class_row(Entry)) as cursor:
        return cursor.execute(
            "/* audit.find */ SELECT id, at, account_id, actor, action, subject, before, after FROM audit "  # noqa: S608 - constants
            "WHERE (%(account_id)s::text IS NULL OR account_id = %(account_id)s) "
            "AND (%(group)s::text IS NULL OR split_part(action, '.', 1) = %(group)s) "
            "AND (%(action)s::text IS NULL OR action = %(action)s) "
            "AND (%(subject)s::text IS NULL OR subject = %(subject)s) "
            "AND (%(actor)s::text IS NULL OR actor = %(actor)s) "
            "AND (%(start)s::timestamptz IS NULL OR at >= %(start)s) "
            "AND (%(end)s::timestamptz IS NULL OR at < %(end)s) "
            f"AND (%(after)s::bigint IS NULL OR id {beyond} %(after)s) ORDER BY id {direction} LIMIT %(limit)s",
            {
                "account_id": account_id,
                "group": action and action.partition(".")[0],
                "action": action if action and "." in action else None,
                "subject": subject,
                "actor": actor,
                "start": start,
                "end": end,
                "after": after,
                "limit": limit,
            },
            prepare=False,
        ).fetchall()


def read_all(connect: Connect, account_id: str | None, **chosen: Any) -> Iterator[Entry]:
    """Yield all entries, newest first; no connection is held between pages."""
    after = None
    while True:
        with connect() as connection:
            found = find_entries(connection, account_id, after=after, limit=PAGE_MAX, **chosen)
        yield from found
        if len(found) < PAGE_MAX:
            return
        after = found[-1].id


def _json(document: Mapping[str, Any] | None) -> Jsonb | None:
    return None if document is None else Jsonb(dict(document))
