"""What rates have counted and have left.

Of a smooth rate, only what may be used at once counts, as the rest of the amount flows in evenly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from keygauge_keyservice.database import Connection
from keygauge_keyservice.limits import kinds, lease_rows
from keygauge_keyservice.limits.kinds import gcra
from keygauge_keyservice.limits.kinds.kind import STATE, TERMS

_FIND = f"""/* rate_use.find */
SELECT plan_limit.id, {TERMS}, {STATE}, limit_state.id IS NOT NULL AS is_used,
    (SELECT coalesce(sum(units - spent), 0)::bigint FROM lease
     WHERE state_id = plan_limit.id || ':' || %(owner)s AND NOT closed
     AND ends_at > statement_timestamp() - {lease_rows.RETURN_TIME}) AS held
FROM plan_limit
LEFT JOIN limit_state ON limit_state.id = plan_limit.id || ':' || %(owner)s AND account_id = %(account_id)s
WHERE plan_limit.id = ANY(%(limits)s)"""  # noqa: S608 - constants


@dataclass(frozen=True)
class Use:
    """How many units of a rate are used and still count, and how many may be used now."""

    used: int
    remaining: int
    is_current: bool = field(default=False, compare=False)  # as replicas report it with each heartbeat


def find_rate_use(
    connection: Connection, account_id: str, limits: Sequence[int], *, key_id: str | None = None
) -> dict[int, Use]:
    """Return an account's use of rates by the limit's id, or that of one of its keys.

    Units that replicas hold count once they are known to be spent, for two seconds after a lease's end as unspent: the
    replica may be returning them. So the use of a window below `PROGRESS_S` lags by the life of its leases.
    """
    if not limits:
        return {}
    rows = connection.execute(
        _FIND, {"account_id": account_id, "owner": key_id or account_id, "limits": list(limits)}
    ).fetchall()
    now_us = lease_rows.now_us(connection)
    found = {}
    for row in rows:
        used = max(0, kinds.load(row).now(row, now_us=now_us)[0].used - row["held"])
        most = gcra.burst(row["amount"]) if row["smooth"] else row["amount"]
        is_current = row["is_used"] and lease_rows.is_reported(row)
        found[row["id"]] = Use(used, max(0, most - used), is_current)
    return found
