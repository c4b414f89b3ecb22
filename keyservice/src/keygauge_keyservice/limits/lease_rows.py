"""SQL statements for leases; they take the requests of many replicas as arrays, so their number is constant."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from keygauge.protocol import PROGRESS_S
from keygauge_keyservice.database import Connection
from keygauge_keyservice.limits.kinds.kind import STATE, TERMS, Columns

Row: TypeAlias = dict[str, Any]
ReplicaLimit: TypeAlias = tuple[str, str]
"""A replica, and the id of a limit that it uses."""

RETURN_TIME = "interval '2 seconds'"  # after a lease's end, in which its replica usually returns its unspent units

_PRUNED = 500  # ended leases deleted per heartbeat: more than a heartbeat can create
_KEPT_S = 60  # how long an ended lease is kept: a replica may report its unspent units late
_CALL_S = 3600  # how long calls in progress may take to give back what they reserved and did not use
_KNOWN = (
    "SELECT wanted.service, wanted.id, account.id AS account_id "
    "FROM unnest(%s::text[], %s::text[]) AS wanted (service, id) "
    "JOIN plan_limit ON plan_limit.id = split_part(wanted.id, ':', 1)::bigint "
    "LEFT JOIN key ON subject = 'key' AND key.id = split_part(wanted.id, ':', 2) "
    "JOIN account ON account.id = "
    "CASE subject WHEN 'key' THEN key.account_id ELSE split_part(wanted.id, ':', 2) END "
    "WHERE (account.plan_id = plan_limit.plan_id OR key.id = plan_limit.key_id) "
    # not EXISTS, for which PostgreSQL may read all keys ever looked up
    "AND CASE WHEN wanted.service IS NULL THEN true WHEN key.id IS NOT NULL THEN ("
    "SELECT true FROM service_key WHERE service_key.key_id = key.id AND service_key.service = wanted.service) ELSE ("
    "SELECT true FROM service_account AS own WHERE own.account_id = account.id AND own.service = wanted.service) END"
)


def take_back(connection: Connection, returned: Collection[tuple[str, int]]) -> list[Row]:
    """Delete leases, given by replica and number, and return those that existed."""
    if not returned:
        return []
    replicas, ids = zip(*returned, strict=True)
    return connection.execute(
        "/* leases.take_back */ DELETE FROM lease USING unnest(%s::bigint[], %s::text[]) AS returned (id, replica) "
        "WHERE lease.id = returned.id AND lease.replica = returned.replica "
        "RETURNING lease.id, lease.replica, state_id, bucket, units",
        (list(ids), list(replicas)),
    ).fetchall()


def take_back_lost(connection: Connection, lost: Collection[tuple[str, int, int]]) -> list[Row]:
    """Delete the leases granted in ranges of heartbeats (replica, first, last), and return them."""
    if not lost:
        return []
    replicas, firsts, lasts = zip(*lost, strict=True)
    return connection.execute(
        "/* leases.take_back_lost */ DELETE FROM lease "
        "USING unnest(%s::text[], %s::bigint[], %s::bigint[]) AS lost (replica, first, last) "
        "WHERE lease.replica = lost.replica AND heartbeat BETWEEN first AND last "
        "RETURNING state_id, bucket, units",
        (list(replicas), list(firsts), list(lasts)),
    ).fetchall()


def shrink(connection: Connection, used: Mapping[tuple[str, int], int]) -> list[Row]:
    """Shrink leases to what calls in progress may still give back; those calls may take an hour."""
    if not used:
        return []
    replicas, ids = zip(*used, strict=True)
    return connection.execute(
        "/* leases.shrink */ WITH reported AS (SELECT lease.id, lease.replica, units, used FROM lease "
        "JOIN unnest(%s::bigint[], %s::text[], %s::bigint[]) AS reported (id, replica, used) "
        "ON reported.id = lease.id AND reported.replica = lease.replica WHERE bucket >= 0 FOR UPDATE OF lease) "
        "UPDATE lease SET closed = true, units = least(lease.units, used), "
        "ends_at = clock_timestamp() + %s * interval '1 second' "
        "FROM reported WHERE lease.id = reported.id "
        "RETURNING state_id, lease.replica, bucket, greatest(reported.units - used, 0) AS unspent",
        (list(ids), list(replicas), list(used.values()), _CALL_S),
    ).fetchall()


def note_progress(connection: Connection, progress: Mapping[tuple[str, int], tuple[int, int]]) -> None:
    """Record how much of running leases is spent, and how much of that is reserved."""
    if progress:
        replicas, ids = zip(*progress, strict=True)
        spent, reserved = zip(*progress.values(), strict=True)
        connection.execute(
            "/* leases.note_progress */ UPDATE lease SET spent = least(lease.units, reported.spent), "
            "reserved = reported.reserved FROM unnest(%s::bigint[], %s::text[], %s::bigint[], %s::bigint[]) "
            "AS reported (id, replica, spent, reserved) "
            "WHERE lease.id = reported.id AND lease.replica = reported.replica AND NOT closed",
            (list(ids), list(replicas), list(spent), list(reserved)),
        )


def open_limits(
    connection: Connection, wanted: Collection[tuple[str | None, str]], *, heartbeats: int
) -> set[tuple[str | None, str]]:
    """Return which of the wanted pairs of service and limit are allowed, and create the rows of their limits.

    For limits per tag, this is the row for calls without a tag; for tags, see `find_of_tags`.
    """
    _prune(connection, _PRUNED * heartbeats)
    if not wanted:
        return set()
    services, limits = zip(*wanted, strict=True)
    rows = connection.execute(
        f"/* leases.open */ WITH known AS ({_KNOWN}), "  # noqa: S608 - a constant
        "opened AS (INSERT INTO limit_state (id, account_id) SELECT DISTINCT id, account_id FROM known ORDER BY id "
        "ON CONFLICT DO NOTHING) "
        "SELECT service, id FROM known",
        (list(services), list(limits)),
    )
    return {(row["service"], row["id"]) for row in rows}


def find_of_tags(
    connection: Connection, wanted: Collection[tuple[str | None, str]]
) -> list[tuple[str | None, str, str]]:
    """Return the allowed pairs of service and tag counter, with the counter's account."""
    services, limits = zip(*wanted, strict=True)
    rows = connection.execute(f"/* leases.of_tags */ {_KNOWN} AND per_tag", (list(services), list(limits)))
    return [(row["service"], row["id"], row["account_id"]) for row in rows]


def lock(connection: Connection, state_ids: Sequence[str]) -> list[Row]:
    """Lock rows in the order of their ids, so that transactions never deadlock."""
    if not state_ids:
        return []
    return connection.execute(
        f"/* leases.lock */ SELECT limit_state.id, account_id, {STATE}, is_complete, {TERMS}, "  # noqa: S608 - constants
        "subject, per_tag, route, model, tool, weights "
        "FROM limit_state JOIN plan_limit ON plan_limit.id = split_part(limit_state.id, ':', 1)::bigint "
        "WHERE limit_state.id = ANY(%s) ORDER BY limit_state.id FOR UPDATE OF limit_state",
        (list(state_ids),),
    ).fetchall()


def now_us(connection: Connection) -> int:
    """Return the database's clock; the transaction's own time may be older than what another one wrote."""
    row = connection.execute(
        "/* leases.now */ SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now_us"
    ).fetchone()
    return int(row["now_us"]) if row else 0


def write(connection: Connection, states: Mapping[str, Columns], *, incomplete: Collection[str] = ()) -> None:
    """Write the states of limits whose rows are locked. Quotas that are `incomplete` still lack earlier use."""
    if not states:
        return
    connection.execute(
        "/* leases.write */ UPDATE limit_state "
        "SET head = written.head, cells = written.cells::bigint[], ends = written.ends::bigint[], "
        "clock = written.clock, stamps = written.stamps::bigint[], is_complete = written.id <> ALL(%s) "
        "FROM unnest(%s::text[], %s::bigint[], %s::text[], %s::text[], %s::text[], %s::text[]) "
        "AS written (id, head, cells, ends, clock, stamps) "
        "WHERE limit_state.id = written.id",
        (
            list(incomplete),
            list(states),
            [state.head for state in states.values()],
            [_array(state.cells) for state in states.values()],
            [_array(state.ends) for state in states.values()],
            [state.clock for state in states.values()],
            [_array(state.stamps) for state in states.values()],
        ),
    )


def hand_out(connection: Connection, given: Sequence[tuple[str, str, int, int, int, int]]) -> dict[ReplicaLimit, int]:
    """Create leases (limit, replica, heartbeat, bucket, units, end in microseconds) and return their numbers."""
    if not given:
        return {}
    rows = connection.execute(
        "/* leases.hand_out */ INSERT INTO lease (state_id, replica, heartbeat, bucket, units, spent, ends_at) "
        "SELECT state_id, replica, heartbeat, bucket, units, CASE bucket WHEN -1 THEN units ELSE 0 END, "
        "timestamptz 'epoch' + ends_us * interval '1 microsecond' "
        "FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[]) "
        "AS given (state_id, replica, heartbeat, bucket, units, ends_us) RETURNING id, replica, state_id",
        tuple(list(column) for column in zip(*given, strict=True)),
    )
    return {(row["replica"], row["state_id"]): row["id"] for row in rows}


def is_reported(row: Mapping[str, Any]) -> bool:
    """Return whether replicas report what they spend of a limit's leases while they hold them."""
    return row["unit"] != "concurrent" and not row["smooth"] and (row["window_s"] or PROGRESS_S) >= PROGRESS_S


class Held(NamedTuple):
    """The unspent units that a replica holds of a limit, as of its last report."""

    replica: str
    units: int
    told_ms: int


def held(connection: Connection, limits: Collection[str]) -> dict[str, list[Held]]:
    """Return the unspent units per limit and replica. Includes leases that just ended, as their rest returns soon."""
    if not limits:
        return {}
    rows = connection.execute(
        "/* leases.held */ SELECT state_id, replica, sum(units - spent)::bigint AS units, "  # noqa: S608 - a constant
        "greatest(0, extract(epoch FROM clock_timestamp() - max(seen_at)) * 1000)::bigint AS told_ms "
        "FROM lease JOIN replica ON replica.id = lease.replica "
        f"WHERE state_id = ANY(%s) AND NOT closed AND ends_at > statement_timestamp() - {RETURN_TIME} "
        "GROUP BY state_id, replica",
        (list(limits),),
    )
    found: dict[str, list[Held]] = {}
    for row in rows:
        found.setdefault(row["state_id"], []).append(Held(row["replica"], row["units"], row["told_ms"]))
    return found


def call_back(connection: Connection, short: Mapping[ReplicaLimit, int]) -> dict[ReplicaLimit, int]:
    """Return the units that may soon come back for replicas that are short of some, and call them back if they suffice.

    Other replicas' unspent units and the reservations of all calls in progress, including the replica's own, may come
    back. A replica that was called on a while ago is assumed to spend what it holds, and one that sends no heartbeats
    to give nothing back. The rest of a lease that ended comes with the next heartbeat. A locked row belongs to a lease
    that is just being returned, so it is not called back.
    """
    if not short:
        return {}
    replicas, limits = zip(*short, strict=True)
    rows = connection.execute(
        "/* leases.call_back */ WITH short AS MATERIALIZED ("  # noqa: S608 - a constant
        "SELECT * FROM unnest(%s::text[], %s::text[], %s::bigint[]) AS short (replica, state_id, units)), "
        "live AS (SELECT lease.* FROM lease JOIN replica ON replica.id = lease.replica "
        f"WHERE state_id = ANY(%s) AND bucket >= 0 AND ends_at > statement_timestamp() - {RETURN_TIME} "
        "AND seen_at > statement_timestamp() - interval '10 seconds'), "
        "back AS MATERIALIZED (SELECT short.replica, short.state_id, short.units AS least, sum("
        "CASE WHEN closed THEN live.units WHEN live.replica = short.replica "
        "OR wanted_at <= statement_timestamp() - interval '5 seconds' THEN reserved "
        "ELSE live.units - spent + reserved END)::bigint AS units FROM short JOIN live USING (state_id) "
        "GROUP BY short.replica, short.state_id, short.units), "
        "soon AS (SELECT * FROM back WHERE units >= least), "
        "new AS (SELECT id FROM lease WHERE id IN (SELECT live.id FROM live JOIN soon "
        "ON soon.state_id = live.state_id AND soon.replica <> live.replica "
        "WHERE live.wanted_at IS NULL AND NOT live.closed) FOR UPDATE SKIP LOCKED), "
        "marked AS (UPDATE lease SET wanted_at = clock_timestamp() FROM new WHERE lease.id = new.id) "
        "SELECT replica, state_id, units FROM back",
        (list(replicas), list(limits), list(short.values()), sorted(set(limits))),
    )
    return {(row["replica"], row["state_id"]): row["units"] for row in rows}


def wanted(connection: Connection, replicas: Sequence[str]) -> dict[str, list[str]]:
    """Return, per replica, the limits of which it holds units that others were denied."""
    rows = connection.execute(
        "/* leases.wanted */ SELECT DISTINCT replica, state_id FROM lease "
        "WHERE replica = ANY(%s) AND wanted_at IS NOT NULL AND NOT closed AND ends_at > clock_timestamp()",
        (list(replicas),),
    )
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row["replica"], []).append(row["state_id"])
    return found


def _array(numbers: Sequence[int]) -> str:
    return "{" + ",".join(map(str, numbers)) + "}"


def _prune(connection: Connection, most: int) -> None:
    """Delete ended leases that no replica reported; their unspent units are lost.

    With `clock_timestamp()`, the index could not be used and every lease would be read. An array is built only once; a
    subquery may run again for each row, and select others each time.
    """
    connection.execute(
        "/* leases.prune */ DELETE FROM lease WHERE id = ANY(ARRAY(SELECT id FROM lease "
        "WHERE ends_at < statement_timestamp() - %s * interval '1 second' ORDER BY ends_at LIMIT %s "
        "FOR UPDATE SKIP LOCKED))",
        (_KEPT_S, most),
    )
