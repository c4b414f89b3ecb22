"""The replicas: which processes of metered services are alive, and which of them use a limit."""

from __future__ import annotations

from collections.abc import Sequence

from keygauge.protocol import Heartbeat
from keygauge_keyservice.database import Connection

T_MAX_MS = 10_000  # how long a replica may trust what it knows, from the moment it asked


def see(connection: Connection, message: Heartbeat) -> int:
    """Note that a replica is alive, and return how many are, this one included.

    A heartbeat that takes or keeps no lease need not wait for the disk: what it writes may be lost in a crash.
    """
    if message.cursor is None:  # a replica that starts: time to forget those that ended
        connection.execute(
            "/* replicas.prune */ WITH users AS ("
            "DELETE FROM limit_replica WHERE seen_at < statement_timestamp() - interval '1 day') "
            "DELETE FROM replica WHERE seen_at < statement_timestamp() - interval '1 day'"
        )
    row = connection.execute(
        "/* replicas.see */ WITH seen AS ("
        "INSERT INTO replica (id, service, host, version, mode, started_at, seen_at) VALUES "
        "(%(replica)s, %(service)s, %(host)s, %(version)s, %(mode)s, clock_timestamp(), clock_timestamp()) "
        "ON CONFLICT (id) DO UPDATE SET seen_at = EXCLUDED.seen_at, mode = EXCLUDED.mode "
        "WHERE replica.seen_at < EXCLUDED.seen_at - interval '500 milliseconds') "
        "SELECT count(*) AS others, set_config('synchronous_commit', "
        "CASE WHEN %(lasting)s THEN current_setting('synchronous_commit') ELSE 'off' END, true) FROM replica "
        "WHERE id <> %(replica)s AND seen_at > clock_timestamp() - interval '5 seconds'",
        {
            "replica": message.replica,
            "service": message.service,
            "host": message.host,
            "version": message.version,
            "mode": message.mode,
            "lasting": bool(message.acquire or message.hold),
        },
    ).fetchone()
    return 1 + int(row["others"]) if row else 1


def use(connection: Connection, replica: str, limit_ids: Sequence[str]) -> dict[str, int]:
    """Note that a replica asks for units of limits, and return how many others did lately, of each that any did.

    Lately is a little longer than leases live: who holds one uses the limit. Rows are written seldom.
    """
    rows = connection.execute(
        "/* replicas.use */ WITH used AS (INSERT INTO limit_replica (state_id, replica, seen_at) "
        "SELECT state_id, %(replica)s, clock_timestamp() FROM unnest(%(limits)s::text[]) AS asked (state_id) "
        "ON CONFLICT (state_id, replica) DO UPDATE SET seen_at = EXCLUDED.seen_at "
        "WHERE limit_replica.seen_at < EXCLUDED.seen_at - interval '5 seconds') "
        "SELECT state_id, count(*) AS others FROM limit_replica WHERE state_id = ANY(%(limits)s) "
        "AND replica <> %(replica)s AND seen_at > statement_timestamp() - interval '40 seconds' GROUP BY state_id",
        {"replica": replica, "limits": sorted(limit_ids)},
    )
    return {row["state_id"]: row["others"] for row in rows}
