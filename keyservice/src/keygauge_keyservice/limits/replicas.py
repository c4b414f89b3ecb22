"""Replicas: the live processes of metered services, and which of them use a limit."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import msgspec

from keygauge.protocol import Heartbeat
from keygauge_keyservice.database import Connection

T_MAX_MS = 10_000  # how long a replica may rely on an answer, counted from its request


class Seen(NamedTuple):
    """The number of replicas that are alive, and those whose heartbeat arrived before, or a later one did."""

    alive: int
    repeated: frozenset[str]


def see(connection: Connection, messages: Sequence[Heartbeat], *, lock_timeout_ms: int = 0) -> Seen:
    """Record that replicas, each with one message, are alive.

    Heartbeats that request or renew no lease need not wait for the disk: what they write may be lost in a crash.
    Locked rows are awaited for at most `lock_timeout_ms`; 0 for the timeout of statements.
    """
    if any(message.cursor is None for message in messages):  # a new replica: also forget those that ended
        connection.execute(
            "/* replicas.prune */ WITH users AS ("
            "DELETE FROM limit_replica WHERE seen_at < statement_timestamp() - interval '1 day') "
            "DELETE FROM replica WHERE seen_at < statement_timestamp() - interval '1 day'"
        )
    seen = sorted(
        (one.replica, one.service, one.host, one.version, one.mode, _streams(one), one.number if one.acquire else 0)
        for one in messages
    )
    columns = [list(column) for column in zip(*seen, strict=True)]
    lasting = any(message.acquire or message.hold for message in messages)
    row = connection.execute(
        "/* replicas.see */ WITH settings AS MATERIALIZED (SELECT set_config('lock_timeout', %s, true), "
        "set_config('synchronous_commit', "
        "CASE WHEN %s THEN current_setting('synchronous_commit') ELSE 'off' END, true)), "
        "seen AS (INSERT INTO replica (id, service, host, version, mode, streams, heartbeat, started_at, seen_at) "
        "SELECT received.*, clock_timestamp(), clock_timestamp() FROM "
        "unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::jsonb[], %s::bigint[]) AS received "
        "ON CONFLICT (id) DO UPDATE SET seen_at = EXCLUDED.seen_at, mode = EXCLUDED.mode, streams = EXCLUDED.streams, "
        "heartbeat = greatest(replica.heartbeat, EXCLUDED.heartbeat) "
        "WHERE CASE EXCLUDED.heartbeat WHEN 0 THEN replica.seen_at < EXCLUDED.seen_at - interval '500 milliseconds' "
        "ELSE replica.heartbeat < EXCLUDED.heartbeat END RETURNING id) "
        "SELECT ARRAY(SELECT id FROM seen) AS seen, (SELECT count(*) FROM replica WHERE id <> ALL(%s) "
        "AND seen_at > clock_timestamp() - interval '5 seconds') AS others FROM settings",
        (str(lock_timeout_ms), lasting, *columns, columns[0]),
    ).fetchone()
    assert row is not None  # noqa: S101 - for the type checker
    requesting = {one.replica for one in messages if one.acquire and one.number}
    return Seen(len(messages) + row["others"], frozenset(requesting.difference(row["seen"])))


def _streams(message: Heartbeat) -> str:
    """Format the open streams of a replica for the table."""
    return msgspec.json.encode(message.streams).decode()


def use(connection: Connection, pairs: Collection[tuple[str, str]]) -> dict[str, int]:
    """Record that replicas request units of limits; return how many other replicas recently did, per limit.

    "Recently" is a little longer than leases live, as a replica that holds one uses the limit. Rows are rarely written.
    """
    if not pairs:
        return {}
    replicas, limits = zip(*sorted(pairs), strict=True)
    rows = connection.execute(
        "/* replicas.use */ WITH requested AS MATERIALIZED ("
        "SELECT * FROM unnest(%s::text[], %s::text[]) AS requested (replica, state_id)), "
        "used AS (INSERT INTO limit_replica (replica, state_id, seen_at) "
        "SELECT replica, state_id, clock_timestamp() FROM requested "
        "ON CONFLICT (state_id, replica) DO UPDATE SET seen_at = EXCLUDED.seen_at "
        "WHERE limit_replica.seen_at < EXCLUDED.seen_at - interval '5 seconds') "
        "SELECT state_id, count(*) AS others FROM limit_replica WHERE state_id = ANY(%s) "
        "AND seen_at > statement_timestamp() - interval '40 seconds' "
        "AND NOT EXISTS (SELECT FROM requested WHERE requested.state_id = limit_replica.state_id "
        "AND requested.replica = limit_replica.replica) GROUP BY state_id",
        (list(replicas), list(limits), sorted(set(limits))),
    )
    return {row["state_id"]: row["others"] for row in rows}
