"""What smooth rates have left: only what may be used at once counts, as the rest of the amount flows in evenly."""

from __future__ import annotations

from dataclasses import dataclass

from keygauge_keyservice.database import Connection
from keygauge_keyservice.limits import kinds, lease_rows
from keygauge_keyservice.limits.definitions import Subject
from keygauge_keyservice.limits.kinds import gcra

_FIND = """/* smooth_use.find */
SELECT plan_limit.name, subject, unit, amount, window_s, period, anchor, zone, smooth, head, cells, ends, clock, stamps,
    (SELECT coalesce(sum(units - spent), 0)::bigint FROM lease
     WHERE state_id = plan_limit.id || ':' || owner AND NOT closed AND ends_at > statement_timestamp()) AS held
FROM key JOIN account ON account.id = key.account_id
JOIN plan_limit ON smooth AND NOT per_tag AND (plan_limit.plan_id = account.plan_id OR plan_limit.key_id = key.id)
CROSS JOIN LATERAL (SELECT CASE subject WHEN 'key' THEN key.id ELSE account.id END AS owner) AS owned
LEFT JOIN limit_state ON limit_state.id = plan_limit.id || ':' || owner
WHERE key.id = %s"""


@dataclass(frozen=True)
class SmoothUse:
    """How many units of a smooth rate are used and still count, and how many may be used at once."""

    name: str
    subject: Subject
    used: int
    remaining: int


def find_smooth_use(connection: Connection, key_id: str) -> list[SmoothUse]:
    """Return the use of the smooth rates that count a key's calls."""
    rows = connection.execute(_FIND, (key_id,)).fetchall()
    now_us = lease_rows.now_us(connection) if rows else 0
    found = []
    for row in rows:
        used = max(0, kinds.load(row).now(row, now_us=now_us)[0].used - row["held"])
        found.append(SmoothUse(row["name"], row["subject"], used, max(0, gcra.burst(row["amount"]) - used)))
    return found
