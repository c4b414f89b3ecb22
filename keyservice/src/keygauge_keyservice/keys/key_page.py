"""Filtered, sorted and paginated lists of keys, of one account or of all."""

from __future__ import annotations

from typing import Literal

from psycopg import sql
from psycopg.rows import class_row

from keygauge_keyservice import keyset
from keygauge_keyservice.database import Connection
from keygauge_keyservice.keys.keys import COLUMNS, Key

Sort = Literal["created", "name", "last_used", "expires", "-created", "-name", "-last_used", "-expires"]
SORTS = {
    "created": "created_at",
    "name": "lower(name)",
    "last_used": "coalesce(last_used_at, '-infinity')",
    "expires": "coalesce(expires_at, 'infinity')",
}

_OWN = "(%(account_id)s::text IS NULL OR account_id = %(account_id)s)"
_LIST = """/* key_page.list */ SELECT {columns} FROM key
WHERE {own}
AND CASE WHEN %(status)s::text IS NULL THEN status <> 'deleted' ELSE status = %(status)s END
AND (%(name)s::text IS NULL OR lower(name) = lower(%(name)s))
AND (%(environment)s::text IS NULL OR environment = %(environment)s)
AND {after} ORDER BY {order} LIMIT %(limit)s"""


def list_keys(
    connection: Connection,
    *,
    account_id: str | None = None,
    name: str | None = None,
    status: str | None = None,
    environment: str | None = None,
    sort: str = "created",
    after: str | None = None,
    limit: int,
) -> list[Key]:
    """Return a page of keys; `after` is the last id of the previous page. Deleted keys need `status="deleted"`."""
    beyond, order = keyset.clauses("key", SORTS, sort, own=_OWN)
    query = sql.SQL(_LIST).format(columns=COLUMNS, own=sql.SQL(_OWN), after=beyond, order=order)
    values = {
        "account_id": account_id,
        "name": name,
        "status": status,
        "environment": environment,
        "after": after,
        "limit": limit,
    }
    with connection.cursor(row_factory=class_row(Key)) as cursor:
        return cursor.execute(query, values, prepare=False).fetchall()
