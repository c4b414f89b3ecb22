"""The unused units of limits that replicas follow: they hold leases and estimate what others take in the meantime."""

from __future__ import annotations

from collections.abc import Sequence

from keygauge.protocol import Unused
from keygauge_keyservice.database import Connection
from keygauge_keyservice.limits import kinds, lease_rows
from keygauge_keyservice.limits.kinds.kind import STATE, TERMS

# The leases of smooth rates are too short to follow.
_READ = f"""/* followed.read */
SELECT follow.replica, state.id, {STATE}, {TERMS}
FROM unnest(%s::text[], %s::text[]) AS follow (replica, id)
JOIN limit_replica AS known ON known.state_id = follow.id AND known.replica = follow.replica
JOIN limit_state AS state ON state.id = follow.id
JOIN plan_limit ON plan_limit.id = split_part(state.id, ':', 1)::bigint
WHERE unit <> 'concurrent' AND NOT smooth"""  # noqa: S608 - constants


def find_unused(connection: Connection, followed: Sequence[tuple[str, Sequence[str]]]) -> dict[str, list[Unused]]:
    """Return the unused units of the limits that each replica follows; limits that it never used are ignored."""
    unused: dict[str, list[Unused]] = {replica: [] for replica, _ in followed}
    pairs = [(replica, name) for replica, names in followed for name in names]
    if not pairs:
        return unused
    replicas, names = (list(column) for column in zip(*pairs, strict=True))
    rows = connection.execute(_READ, (replicas, names)).fetchall()
    now_us = lease_rows.now_us(connection)
    held = lease_rows.held(connection, [row["id"] for row in rows if lease_rows.is_reported(row)])
    for row in rows:
        left = max(0, row["amount"] - kinds.load(row).now(row, now_us=now_us)[0].used)
        others = [one for one in held.get(row["id"], ()) if one.replica != row["replica"]]
        told_ms = sum(one.told_ms for one in others) // max(1, len(others))
        unused[row["replica"]].append(Unused(row["id"], left + sum(one.units for one in others), told_ms))
    return unused
