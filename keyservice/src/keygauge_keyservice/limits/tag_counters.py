"""Counters of limits per tag: one row per tag, from its first call until its period is over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from keygauge_keyservice.database import Connection

MOST = 100_000  # per limit and account or key; concurrent heartbeats may slightly exceed it
_PAGE = 5_000  # rows checked at once
_GRACE_S = 300  # how long a counter is kept after its end: clocks are set back by less

Pair: TypeAlias = tuple[str | None, str]
"""A service, and the id of a counter that it requests."""


class Opened(NamedTuple):
    """The allowed counters, those beyond the maximum, and the number of new counters per limit."""

    allowed: set[Pair]
    surplus: set[Pair]
    made: Mapping[str, int]


_OPEN = """/* tag_counters.open */
WITH known AS (
    SELECT wanted.service, wanted.id, wanted.account_id,
        split_part(wanted.id, ':', 1) || ':' || split_part(wanted.id, ':', 2) AS base, state.id IS NOT NULL AS is_open
    FROM unnest(%s::text[], %s::text[], %s::text[]) AS wanted (service, id, account_id)
    LEFT JOIN limit_state AS state ON state.id = wanted.id
), numbered AS (
    SELECT new.id, new.account_id, new.base,
        coalesce(tags, 0) + row_number() OVER (PARTITION BY new.base ORDER BY new.id) AS number
    FROM (SELECT DISTINCT id, account_id, base FROM known WHERE NOT is_open) AS new
    LEFT JOIN limit_state AS state ON state.id = new.base
), made AS (
    INSERT INTO limit_state (id, account_id, base) SELECT id, account_id, base FROM (
        SELECT id, account_id, base FROM numbered WHERE number <= %s
        UNION SELECT base, account_id, NULL FROM numbered WHERE number <= %s
    ) AS new ORDER BY id
    ON CONFLICT DO NOTHING RETURNING id
)
SELECT service, id, known.base, is_open OR number <= %s AS is_allowed, made.id IS NOT NULL AS is_made
FROM known LEFT JOIN numbered USING (id) LEFT JOIN made USING (id)"""
_COUNT = """/* tag_counters.count */
UPDATE limit_state SET tags = tags + made.number FROM unnest(%s::text[], %s::integer[]) AS made (id, number)
WHERE limit_state.id = made.id"""
_IS_OVER = """CASE WHEN smooth THEN head < before_us
WHEN window_s IS NOT NULL OR period IS NOT NULL THEN
    coalesce((SELECT max(moment) FROM unnest(ends) AS moment), 0) + coalesce(window_s, 0) * 1000000::bigint < before_us
ELSE NOT EXISTS (SELECT FROM lease WHERE state_id = state.id AND ends_at > statement_timestamp()) END"""
_STATES = """limit_state AS state JOIN plan_limit ON plan_limit.id = split_part(state.id, ':', 1)::bigint
CROSS JOIN LATERAL (SELECT (extract(epoch FROM clock_timestamp()) - %(grace_s)s) * 1000000 AS before_us) AS now"""
_LOOK = f"""/* tag_counters.look */
SELECT state.id, base, {_IS_OVER} AS is_over FROM {_STATES}
WHERE base IS NOT NULL AND (base, state.id) > (%(base)s, %(id)s)
ORDER BY base, state.id LIMIT %(most)s"""  # noqa: S608 - constants
_LOCK = "/* tag_counters.lock */ SELECT FROM limit_state WHERE id = %s FOR UPDATE"
_DELETE = f"""/* tag_counters.delete */
DELETE FROM limit_state WHERE id IN (SELECT state.id FROM {_STATES}
WHERE state.id = ANY(%(ids)s) AND {_IS_OVER} FOR UPDATE OF state SKIP LOCKED) RETURNING id"""  # noqa: S608 - constants
_FORGET = "/* tag_counters.forget */ DELETE FROM limit_replica WHERE state_id = ANY(%s)"
_RECOUNT = """/* tag_counters.recount */
UPDATE limit_state SET tags = (SELECT count(*) FROM limit_state AS state WHERE state.base = limit_state.id)
WHERE id = ANY(%s)"""
_FULL = "/* tag_counters.full */ SELECT id FROM limit_state WHERE tags >= %s ORDER BY id"


def open_new(connection: Connection, wanted: Collection[tuple[str | None, str, str]]) -> Opened:
    """Create counters for new tags, up to the maximum, from allowed requests given by service, id and account.

    The row of the limit itself is created too.
    """
    services, ids, accounts = zip(*wanted, strict=True)
    values = (list(services), list(ids), list(accounts), MOST, MOST, MOST)
    rows = connection.execute(_OPEN, values).fetchall()
    made = {row["id"]: row["base"] for row in rows if row["is_made"]}
    pairs: dict[bool, set[Pair]] = {True: set(), False: set()}
    for row in rows:
        pairs[row["is_allowed"]].add((row["service"], row["id"]))
    return Opened(pairs[True], pairs[False], Counter(made.values()))


def count(connection: Connection, made: Mapping[str, int]) -> None:
    """Add the number of new counters to limits whose own rows are locked."""
    if made:
        connection.execute(_COUNT, (list(made), list(made.values())))


def recount(connection: Connection, bases: Sequence[str]) -> None:
    """Count the tags of limits whose own rows are locked."""
    connection.execute(_RECOUNT, (list(bases),))


def prune(connection: Connection) -> int:
    """Delete the counters whose period or window is over; return how many."""
    after, pruned = {"base": "", "id": ""}, 0
    while rows := connection.execute(_LOOK, after | {"most": _PAGE, "grace_s": _GRACE_S}).fetchall():
        after = {name: rows[-1][name] for name in ("base", "id")}
        over: dict[str, list[str]] = {}
        for row in rows:
            if row["is_over"]:
                over.setdefault(row["base"], []).append(row["id"])
        pruned += sum(_delete(connection, base, ids) for base, ids in over.items())
    return pruned


def full(connection: Connection) -> list[str]:
    """Return the ids of limits, with account or key, that have the maximum number of tags."""
    return [row["id"] for row in connection.execute(_FULL, (MOST,))]


def _delete(connection: Connection, base: str, ids: Sequence[str]) -> int:
    """Delete counters that are still over. This cannot deadlock: it holds one limit's row and skips locked ones."""
    with connection.transaction():
        connection.execute(_LOCK, (base,))
        values = {"ids": list(ids), "grace_s": _GRACE_S}
        deleted = [row["id"] for row in connection.execute(_DELETE, values)]
        recount(connection, [base])
    connection.execute(_FORGET, (deleted,))
    return len(deleted)
