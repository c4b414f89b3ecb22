"""Carrying over of usage when an account changes its plan: usage belongs to an account, a unit and a period."""

from __future__ import annotations

from keygauge_keyservice.database import Connection
from keygauge_keyservice.limits import definitions, lease_rows, tag_counters
from keygauge_keyservice.limits.smooth_rates import AT_NEW_RATE, intervals

_PLANS = """/* carried_use.plans */
SELECT DISTINCT plan_id FROM limit_state
JOIN plan_limit ON plan_limit.id = split_part(limit_state.id, ':', 1)::bigint
WHERE account_id = %s AND plan_id IS NOT NULL"""
_LOCK = """/* carried_use.lock */
SELECT FROM limit_state JOIN plan_limit ON plan_limit.id = split_part(limit_state.id, ':', 1)::bigint
WHERE account_id = %s AND plan_id IS NOT NULL
ORDER BY limit_state.id FOR UPDATE OF limit_state"""
# A lease that is just being returned is locked by a heartbeat that waits for these limits, so it is not moved.
_COPY = f"""/* carried_use.copy */
WITH chosen AS MATERIALIZED (
    SELECT DISTINCT ON (id) pair.later || substr(state.id, strpos(state.id, ':')) AS id, state.id AS earlier,
        account_id, {AT_NEW_RATE.format(time="head")} AS head, cells, ends, clock, stamps,
        is_last AND is_complete AS is_complete,
        pair.later || substr(base, strpos(base, ':')) AS base, is_last, old_us, new_us, now_us
    FROM (SELECT %(now_us)s::bigint AS now_us) AS moment
    CROSS JOIN unnest(%(earlier)s::bigint[], %(later)s::bigint[], %(is_last)s::boolean[], %(old_us)s::bigint[],
        %(new_us)s::bigint[]) AS pair (earlier, later, is_last, old_us, new_us)
    JOIN limit_state AS state ON split_part(state.id, ':', 1)::bigint = pair.earlier
    WHERE account_id = %(account_id)s
    ORDER BY id, is_last DESC, head DESC, (SELECT sum(cell) FROM unnest(cells) AS cell) DESC NULLS LAST
), copied AS (
    INSERT INTO limit_state (id, account_id, head, cells, ends, clock, stamps, base, is_complete)
    SELECT id, account_id, head, cells, ends, clock, stamps, base, is_complete FROM chosen
    ON CONFLICT (id) DO UPDATE SET head = EXCLUDED.head, cells = EXCLUDED.cells, ends = EXCLUDED.ends,
        clock = EXCLUDED.clock, stamps = EXCLUDED.stamps, is_complete = EXCLUDED.is_complete
    RETURNING id, base
), held AS (
    SELECT lease.id, first.id AS state_id, {AT_NEW_RATE.format(time="bucket")} AS bucket
    FROM (SELECT DISTINCT ON (earlier) * FROM chosen WHERE is_last ORDER BY earlier, id) AS first
    JOIN lease ON lease.state_id = first.earlier FOR UPDATE OF lease SKIP LOCKED
), moved AS (
    UPDATE lease SET state_id = held.state_id, bucket = held.bucket FROM held WHERE lease.id = held.id
)
SELECT id FROM copied WHERE base IS NULL"""  # noqa: S608 - constants


def carry(connection: Connection, account_id: str, *, before: str, after: str) -> None:
    """Copy usage to a plan's limits from those with the same measure, of the last plan or else of an earlier one.

    If there are several, the highest usage counts. Leases move along: their unspent units return to the new limits,
    and calls in progress keep their slots. Quotas that the last plan did not have lack the use of that time, which the
    next request adds from the ledger.
    """
    plans = {row["plan_id"] for row in connection.execute(_PLANS, (account_id,))}
    limits = definitions.of_plans(connection, {*plans, before, after})
    pairs = [
        (earlier.id, later.id, plan_id == before, *intervals(earlier.bucket_s, earlier.amount, later.amount))
        for plan_id, those in limits.items()
        for earlier in those
        for later in limits.get(after, [])
        if earlier.measure == later.measure
    ]
    if not pairs:
        return
    names = ("earlier", "later", "is_last", "old_us", "new_us")
    columns = dict(zip(names, (list(column) for column in zip(*pairs, strict=True)), strict=True))
    connection.execute(_LOCK, (account_id,))
    now_us = lease_rows.now_us(connection)  # after the locks
    rows = connection.execute(_COPY, {"account_id": account_id, "now_us": now_us, **columns}).fetchall()
    tag_counters.recount(connection, [row["id"] for row in rows])
