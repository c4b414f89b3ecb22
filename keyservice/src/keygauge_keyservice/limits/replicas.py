"""The replicas: which processes of metered services are alive."""

from __future__ import annotations

from keygauge.protocol import Heartbeat
from keygauge_keyservice.database import Connection

T_MAX_MS = 10_000  # how long a replica may trust what it knows, from the moment it asked


def see(connection: Connection, message: Heartbeat) -> int:
    """Note that a replica is alive, and return how many are, this one included.

    A heartbeat that takes or keeps no lease need not wait for the disk: what it writes may be lost in a crash.
    """
    if message.cursor is None:  # a replica that starts: time to forget those that ended
        connection.execute(
            "/* replicas.prune */ DELETE FROM replica WHERE seen_at < statement_timestamp() - interval '1 day'"
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
