"""Search in an account's keys, sorted, page by page."""

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
QUERY_LENGTH_MAX = 20  # as long as the part of a key that is no secret: a whole one never gets into an address

_FIND = """/* key_search.find */ SELECT {columns} FROM key
WHERE account_id = %(account_id)s AND status <> 'deleted'
AND (%(only)s::text IS NULL OR %(only)s IN (status, environment))
AND (%(query)s = '' OR position(lower(%(query)s) IN lower(name)) > 0 OR position(lower(%(query)s) IN lower(app)) > 0
    OR starts_with('kg_' || environment || '_' || id, %(query)s) OR starts_with(id, %(query)s))
ORDER BY {order} NULLS LAST, id LIMIT %(limit)s OFFSET %(offset)s"""
_COUNT = """/* key_search.count */ SELECT count(*) AS keys FROM key WHERE account_id = %s AND status <> 'deleted'"""


@dataclass(frozen=True)
class Search:
    """What to look for: a part of the name or the program, or the beginning of the key; and how to sort it."""

    query: str = ""
    only: Filter | None = None
    sort: Sort = "created"
    is_descending: bool = False


def find(connection: Connection, account_id: str, search: Search, *, limit: int | None, offset: int = 0) -> list[Key]:
    """Return the keys that match, but no deleted ones: at most so many, after so many."""
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
    """Return how many keys an account has, but deleted ones."""
    row = connection.execute(_COUNT, (account_id,)).fetchone()
    return row["keys"] if row else 0
