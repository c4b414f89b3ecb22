"""Changes of the pace of smooth rate limits: buckets are measured in time, and the same units take a different time."""

from __future__ import annotations

from keygauge_keyservice.database import Connection
from keygauge_keyservice.limits.kinds import gcra

AT_NEW_RATE = """CASE WHEN {time} > now_us AND old_us <> new_us
    THEN now_us + ceil(({time} - now_us)::numeric * new_us / old_us)::bigint ELSE {time} END"""
"""SQL that converts a bucket's time, in microseconds, so that it holds as many units at another pace."""

# A lease that is just being returned is locked by a heartbeat that waits for these limits, so it is not changed.
_CHANGE = f"""/* smooth_rates.change */
WITH states AS MATERIALIZED (
    SELECT id, head, %(old_us)s::bigint AS old_us, %(new_us)s::bigint AS new_us,
        (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now_us
    FROM limit_state WHERE split_part(id, ':', 1)::bigint = %(limit)s ORDER BY id FOR UPDATE
), held AS MATERIALIZED (
    SELECT lease.id, {AT_NEW_RATE.format(time="bucket")} AS bucket
    FROM lease JOIN states ON lease.state_id = states.id FOR UPDATE OF lease SKIP LOCKED
), changed AS (
    UPDATE lease SET bucket = held.bucket FROM held WHERE lease.id = held.id
)
UPDATE limit_state SET head = {AT_NEW_RATE.format(time="states.head")} FROM states
WHERE limit_state.id = states.id"""  # noqa: S608 - constants


def intervals(window_s: int | None, earlier: int, later: int) -> tuple[int, int]:
    """Return the time per unit, in microseconds, for the earlier and the later amount; 1 and 1 without a bucket."""
    if not (window_s and earlier and later):
        return 1, 1
    return gcra.interval_us(earlier, window_s), gcra.interval_us(later, window_s)


def change(connection: Connection, limit_id: int | None, window_s: int | None, earlier: int, later: int) -> None:
    """Keep the number of units in the buckets of a limit whose amount changes."""
    old_us, new_us = intervals(window_s, earlier, later)
    if old_us != new_us:
        connection.execute(_CHANGE, {"limit": limit_id, "old_us": old_us, "new_us": new_us})
