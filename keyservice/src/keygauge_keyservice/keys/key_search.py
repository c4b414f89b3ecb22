"""Sorted and paginated search in an account's keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from psycopg import sql
from psycopg.rows import class_row

from keygauge_keyservice.database import Connection
from keygauge_keyservice.keys.keys import COLUMNS, Key

Sort: TypeAlias = Literal["name", "created", "used", "status", "expires"]
Filter: TypeAlias = Literal["active", "disabled", "live", "test"]

SORTS: dict[Sort, str] = {
    "name": "lower(name)",
    "created": "created_at",
    "used": "last_used_at",
    "status": "status, expires_at",
    "expires": "expires_at",
}
FILTERS: tuple[Filter, ...] = ("active", "disabled", "live", "test")
QUERY_LENGTH_MAX = 20  # the length of a key's public part, so that no secret ends up in a URL

_FIND = """/* key_search.find */ SELECT {columns} FROM key
WHERE account_id = %(account_id)s AND status <> 'deleted'
AND (%(only)s::text IS NULL OR %(only)s IN (status, environment))
AND (%(query)s = '' OR position(lower(%(query)s) IN lower(name)) > 0 OR position(lower(%(query)s) IN lower(app)) > 0
    OR starts_with('kg_' || environment || '_' || id, %(query)s) OR starts_with(id, %(query)s))
ORDER BY {order} NULLS LAST, id LIMIT %(limit)s OFFSET %(offset)s"""
_COUNT = """/* key_search.count */ SELECT count(*) AS keys FROM key WHERE account_id = %s AND status <> 'deleted'"""


@dataclass(frozen=True)
class Search:
    """A query (part of the name or app, or the beginning of the key), a filter and a sort order."""

    query: str = ""
    only: Filter | None = None
    sort: Sort = "created"
    is_descending: bool = False


def find(connection: Connection, account_id: str, search: Search, *, limit: int | None, offset: int = 0) -> list[Key]:
    """Return a page of the matching keys, without deleted ones."""
    direction = " DESC" if search.is_descending else ""
    order = ", ".join(column + direction for column in SORTS[search.sort].split(", "))
    query = sql.SQL(_FIND).format(columns=COLUMNS, order=sql.SQL(order))
    with connection.cursor(row_factory=class_row(Key)) as cursor:
        values = {
            "account_id": account_id,
            "query": search.query,
            "only": search.only,
            "limit": limit,
            "offset": offset,
        }
        return cursor.execute(query, values).fetchall()


def count(connection: Connection, account_id: str) -> int:
    """Return the number of an account's keys, without deleted ones."""
    row = connection.execute(_COUNT, (account_id,)).fetchone()
    return row["keys"] if row else 0
