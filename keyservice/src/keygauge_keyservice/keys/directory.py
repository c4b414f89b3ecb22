"""Search over all accounts and keys, for operators."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

from psycopg import sql
from psycopg.rows import class_row

from keygauge_keyservice.database import Connection


@dataclass(frozen=True)
class FoundAccount:
    """An account with figures about its use."""

    id: str
    name: str
    plan_id: str
    status: str
    created_at: datetime
    keys: int
    last_used_at: datetime | None
    requests: int  # in the last 30 days, like errors and cost
    errors: int
    cost_nanousd: int
    quota_share: float | None  # used share of the fullest account-wide quota, including leased units


AccountSort: TypeAlias = Literal[
    "name", "plan", "status", "created", "keys", "used", "requests", "errors", "cost", "quota"
]
ACCOUNT_SORTS: dict[AccountSort, str] = {
    "name": "lower(account.name)",
    "plan": "plan_id",
    "status": "status",
    "created": "created_at",
    "keys": "keys",
    "used": "last_used_at",
    "requests": "requests",
    "errors": "errors",
    "cost": "cost_nanousd",
    "quota": "quota_share",
}
_DAY_S = 86_400
_ID_LENGTH = 12
SCANNED_MAX = 10_000  # newest keys searched for a part of a name, for which there is no index


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


_OF_ACCOUNT = frozenset(("name", "plan", "status", "created"))  # sort orders that need only the account table
_OF_KEYS = frozenset(("keys", "used"))  # sort orders that need all keys of all accounts
# Usage and keys are read per account, from indexes that start with account_id; only for one page if the order allows.
_ACCOUNTS = """/* directory.accounts */
WITH chosen AS MATERIALIZED (
    SELECT account.id, account.name, plan_id, account.status, account.created_at FROM account
    WHERE (%(plan)s::text IS NULL OR plan_id = %(plan)s) AND (%(status)s::text IS NULL OR account.status = %(status)s)
    AND (%(query)s = '' OR position(lower(%(query)s) IN lower(account.name)) > 0 OR account.id = %(query)s
        OR EXISTS (SELECT FROM member WHERE member.account_id = account.id
            AND position(lower(%(query)s) IN email) > 0)
        OR account.id IN (SELECT account_id FROM key WHERE {key_chosen}))
    {chosen_page}
), measured AS MATERIALIZED (
    SELECT account.*, coalesce(requests, 0) AS requests, coalesce(errors, 0) AS errors,
        coalesce(cost_nanousd, 0) AS cost_nanousd, quota_share
    FROM chosen AS account
    LEFT JOIN (
        SELECT account_id, sum(requests)::bigint AS requests, sum(cost_nanousd)::bigint AS cost_nanousd,
            sum(client_errors + server_errors)::bigint AS errors
        FROM usage_aggregate
        WHERE account_id IN (SELECT id FROM chosen) AND length_s = %(day_s)s AND breakdown = 'status' AND inside = ''
        AND bucket >= now() - interval '30 days'
        GROUP BY account_id
    ) AS recent ON recent.account_id = account.id
    LEFT JOIN (
        SELECT chosen.id, max(cells[1] / amount::float8) AS quota_share
        FROM chosen JOIN plan_limit USING (plan_id)
        JOIN limit_state ON limit_state.id = plan_limit.id || ':' || chosen.id
        WHERE period IS NOT NULL AND NOT per_tag AND subject = 'account' AND amount > 0 AND NOT dry_run
        AND ends[1] > extract(epoch FROM now()) * 1000000
        GROUP BY chosen.id
    ) AS quotas ON quotas.id = account.id
    {measured_page}
)
SELECT account.*, keys, last_used_at
FROM measured AS account
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE key.status <> 'deleted') AS keys, max(last_used_at) AS last_used_at
    FROM key WHERE key.account_id = account.id
) AS used
ORDER BY {order} NULLS LAST, account.id {limit}"""


def find_accounts(
    connection: Connection,
    query: str,
    *,
    limit: int,
    offset: int = 0,
    plan: str | None = None,
    status: str | None = None,
    sort: AccountSort = "name",
    is_descending: bool = False,
) -> list[FoundAccount]:
    """Return accounts that match a query by name, id, member's address or the beginning of a key; "" matches all."""
    order = sql.SQL(ACCOUNT_SORTS[sort] + (" DESC" if is_descending else ""))
    cut = sql.SQL("LIMIT %(limit)s OFFSET %(offset)s")
    page, nothing = sql.SQL("ORDER BY {} NULLS LAST, account.id {}").format(order, cut), sql.SQL("")
    is_of_account, is_of_keys = sort in _OF_ACCOUNT, sort in _OF_KEYS
    key_id = key_id_of(query)
    statement = sql.SQL(_ACCOUNTS).format(
        key_chosen=_key_chosen(key_id) if key_id else sql.SQL("false"),
        chosen_page=page if is_of_account else nothing,
        measured_page=nothing if is_of_account or is_of_keys else page,
        order=order,
        limit=cut if is_of_keys else nothing,
    )
    values = {
        "query": query,
        "key_id": key_id,
        "plan": plan,
        "status": status,
        "limit": limit,
        "offset": offset,
        "day_s": _DAY_S,
    }
    with connection.cursor(row_factory=class_row(FoundAccount)) as cursor:
        return cursor.execute(statement, values).fetchall()


def key_id_of(text: str) -> str:
    """Return the id in a pasted key or the beginning of one, without the secret; "" if there is none."""
    parts = text.strip().split("_")
    return parts[2][:_ID_LENGTH] if len(parts) > 2 and parts[0] == "kg" else ""  # noqa: PLR2004 - kg_live_ID


_KEYS = """/* directory.keys */
SELECT key.id, key.name, app, environment, key.status, expires_at, account_id, account.name AS account_name,
    last_used_at
FROM key JOIN account ON account.id = key.account_id
WHERE {chosen} ORDER BY {order}, key.id LIMIT %(limit)s"""
_ALL = "true"
_NEWEST = "key.created_at DESC"  # uses its index
_BY_NAME = "lower(key.name)"  # avoids the index on created_at, in which the matches may be far down
# All keys by the beginning of the name or app, from indexes; the newest keys also by any part of name, app or id.
_BY_TEXT = """key.id IN (
    (SELECT id FROM key WHERE lower(name) COLLATE "C" >= lower(%(query)s)
        AND lower(name) COLLATE "C" < lower(%(query)s) || chr(1114111)
        ORDER BY lower(name) COLLATE "C", id LIMIT %(limit)s)
    UNION ALL
    (SELECT id FROM key WHERE app IS NOT NULL AND lower(app) COLLATE "C" >= lower(%(query)s)
        AND lower(app) COLLATE "C" < lower(%(query)s) || chr(1114111)
        ORDER BY lower(app) COLLATE "C", id LIMIT %(limit)s)
    UNION ALL
    SELECT id FROM (SELECT id, name, app FROM key ORDER BY created_at DESC, id LIMIT %(scanned_max)s) AS newest
    WHERE position(lower(%(query)s) IN lower(name)) > 0 OR position(lower(%(query)s) IN lower(app)) > 0
    OR position(%(query)s IN id) > 0)"""


def find_keys(connection: Connection, query: str, *, limit: int) -> list[FoundKey]:
    """Return keys, including deleted ones, that match a query by name, app, id or the beginning of the key.

    Names and apps match by their beginning; the newest keys also by any part. An empty query returns the newest keys.
    """
    key_id = key_id_of(query)
    chosen = _key_chosen(key_id) if key_id else sql.SQL(_BY_TEXT if query else _ALL)
    with connection.cursor(row_factory=class_row(FoundKey)) as cursor:
        return cursor.execute(
            sql.SQL(_KEYS).format(chosen=chosen, order=sql.SQL(_BY_NAME if query else _NEWEST)),
            {"query": query, "key_id": key_id, "limit": limit, "scanned_max": SCANNED_MAX},
        ).fetchall()


def _key_chosen(key_id: str) -> sql.SQL:
    """Return the SQL condition for a key id: equality if it is complete, which uses the index, else a prefix match."""
    return sql.SQL("key.id = %(key_id)s" if len(key_id) == _ID_LENGTH else "starts_with(key.id, %(key_id)s)")


def count_accounts(connection: Connection) -> dict[str, int]:
    """Return the number of accounts per plan."""
    rows = connection.execute("/* directory.plans */ SELECT plan_id, count(*) AS accounts FROM account GROUP BY 1")
    return {row["plan_id"]: row["accounts"] for row in rows}
