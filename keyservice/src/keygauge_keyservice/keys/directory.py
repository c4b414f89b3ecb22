"""Search over all accounts and keys, for operators."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from keygauge_keyservice.database import Connection


@dataclass(frozen=True)
class FoundAccount:
    """An account with what tells how it is used."""

    id: str
    name: str
    plan_id: str
    status: str
    created_at: datetime
    keys: int
    last_used_at: datetime | None


@dataclass(frozen=True)
class FoundKey:
    """A key with its account's name."""

    id: str
    name: str
    app: str | None
    environment: str
    status: str
    expires_at: datetime | None
    account_id: str
    account_name: str
    last_used_at: datetime | None


def find_accounts(connection: Connection, query: str, *, limit: int) -> list[FoundAccount]:
    """Return accounts whose name, id or member's address contains a text, by name; all where it is empty."""
    with connection.cursor(row_factory=class_row(FoundAccount)) as cursor:
        return cursor.execute(
            "/* directory.accounts */ SELECT account.id, account.name, plan_id, account.status, account.created_at, "
            "used.keys, used.last_used_at FROM account "
            "CROSS JOIN LATERAL (SELECT count(*) FILTER (WHERE key.status <> 'deleted') AS keys, "
            "max(last_used_at) AS last_used_at FROM key WHERE key.account_id = account.id) AS used "
            "WHERE %(query)s = '' OR position(lower(%(query)s) IN lower(account.name)) > 0 OR account.id = %(query)s "
            "OR EXISTS (SELECT FROM member WHERE member.account_id = account.id "
            "AND position(lower(%(query)s) IN email) > 0) ORDER BY lower(account.name), account.id LIMIT %(limit)s",
            {"query": query, "limit": limit},
        ).fetchall()


def find_keys(connection: Connection, query: str, *, limit: int) -> list[FoundKey]:
    """Return keys, deleted ones too, whose name, program or id contains a text; the last used first."""
    with connection.cursor(row_factory=class_row(FoundKey)) as cursor:
        return cursor.execute(
            "/* directory.keys */ SELECT key.id, key.name, app, environment, key.status, expires_at, account_id, "
            "account.name AS account_name, last_used_at FROM key JOIN account ON account.id = key.account_id "
            "WHERE %(query)s = '' OR position(lower(%(query)s) IN lower(key.name)) > 0 "
            "OR position(lower(%(query)s) IN lower(app)) > 0 OR position(%(query)s IN key.id) > 0 "
            "ORDER BY last_used_at DESC NULLS LAST, key.id LIMIT %(limit)s",
            {"query": query, "limit": limit},
        ).fetchall()


def count_accounts(connection: Connection) -> dict[str, int]:
    """Return how many accounts are on which plan."""
    rows = connection.execute("/* directory.plans */ SELECT plan_id, count(*) AS accounts FROM account GROUP BY 1")
    return {row["plan_id"]: row["accounts"] for row in rows}
