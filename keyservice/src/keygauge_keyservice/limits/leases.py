"""Leases over PostgreSQL: take back, lock, decide, write, in a fixed number of statements whatever their count."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from keygauge.protocol import Acquisition, ClockReading, Hold, Return
from keygauge_keyservice.database import Connection
from keygauge_keyservice.limits.grant import Counter, Grant
from keygauge_keyservice.limits.kinds import concurrency, gcra, quota, sliding_window
from keygauge_keyservice.limits.kinds.concurrency import Kept
from keygauge_keyservice.limits.kinds.gcra import Flow
from keygauge_keyservice.limits.kinds.sliding_window import Log

_is_limit_id = re.compile(r"([0-9]{1,18}):([0-9A-Za-z_-]{1,64})", re.ASCII).fullmatch
_is_lease_id = re.compile(r"[0-9]{1,18}", re.ASCII).fullmatch
_PRUNED = 500  # ended leases per heartbeat: more than a heartbeat can make
_KEPT_S = 60  # how long an ended lease is remembered: a replica may tell late what it did not spend of it
_CALL_S = 3600  # how long calls under way may take to give back what they reserved and did not use


State = Counter | Log | Flow


@dataclass(frozen=True)
class Granted:
    """A grant that is in the database: its lease's number, and the moment it was decided."""

    limit_id: str
    lease_id: int | None  # None: refused
    grant: Grant[Any]
    now_us: int


@dataclass(frozen=True)
class Refund:
    """What a return says of a lease: units not spent, and when the others were."""

    bucket: int
    unspent: int
    spent: int
    ago_us: int | None = None  # the last unit was spent so long ago, or longer
    reading: ClockReading | None = None  # it was spent before this, by a clock of the replica


@dataclass(frozen=True)
class Exchanged:
    """What was granted or refused, and which leases of slots are kept."""

    granted: Sequence[Granted] = ()
    kept: Sequence[Kept] = ()


def exchange(
    connection: Connection,
    *,
    service: str | None,
    replica: str,
    returns: Sequence[Return] = (),
    acquisitions: Sequence[Acquisition] = (),
    holds: Sequence[Hold] = (),
    reading: ClockReading | None = None,
    replicas: int,
) -> Exchanged:
    """Take leases back and give leases out, in the caller's transaction; those that are not known are passed over.

    A `service` spends limits of keys that it was told of only; None: whoever calls from within.
    """
    refunds = _take_back(connection, replica, returns, reading)
    wanted = _open(connection, service, acquisitions) if acquisitions else {}
    held = [hold for hold in holds if _is_lease_id(hold.lease)]
    states = _lock(connection, sorted({*refunds, *wanted, *concurrency.find(connection, replica, held)}))
    if not states:
        return Exchanged()
    now_us = _now_us(connection)  # after the locks: the transaction's own time may be older than its neighbour's
    kept = concurrency.keep(connection, replica, held)
    out = concurrency.count(connection, [row["id"] for row in states if row["unit"] == "concurrent"])
    changed: dict[str, State] = {}
    granted = []
    for row in states:
        if row["unit"] == "concurrent":
            if row["id"] in wanted:
                given = places(wanted[row["id"]], row, out.get(row["id"], 0), now_us=now_us, replicas=replicas)
                granted.append(Granted(row["id"], None, given, now_us))
            continue
        before = state_of(row)
        state = settle(before, refunds.get(row["id"], ()), row, now_us=now_us)
        if row["id"] in wanted:
            grant = decide(state, wanted[row["id"]], row, now_us=now_us, replicas=replicas, reading=reading)
            granted.append(Granted(row["id"], None, grant, now_us))
            state = grant.state
        if state != before:
            changed[row["id"]] = state
    _write(connection, changed)
    scarce = {row["id"] for row in states if concurrency.is_scarce(out.get(row["id"], 0), row["amount"], replicas)}
    return Exchanged(
        _hand_out(connection, replica, granted),
        [Kept(str(row["id"]), row["state_id"] in scarce) for row in kept],
    )


def state_of(row: Mapping[str, Any]) -> State:
    """Read the shared side of a limit from its row."""
    if row["smooth"]:
        return Flow(row["head"])
    if row["window_s"] is not None:
        if not row["ends"]:
            return Log()
        return Log(tuple(row["ends"]), tuple(row["cells"]), clock=row["clock"], stamps=tuple(row["stamps"]))
    return Counter(row["head"], tuple(row["cells"]))


def settle(state: State, refunds: Sequence[Refund], terms: Mapping[str, Any], *, now_us: int) -> State:
    """Apply what was returned."""
    window_s = terms["window_s"]
    for refund in refunds:
        if refund.unspent:
            if isinstance(state, Counter):
                state = state.refund(refund.unspent, head=refund.bucket)
            elif isinstance(state, Flow):
                state = state.refund(
                    refund.unspent, refund.bucket, now_us=now_us, amount=terms["amount"], window_s=window_s
                )
            else:
                state = state.refund(refund.unspent, refund.bucket, window_s=window_s)
        if refund.ago_us is not None and refund.spent and isinstance(state, Log):
            spent_us = now_us - refund.ago_us + 2  # both numbers are rounded
            state = state.tighten(
                refund.spent, refund.bucket, spent_us=spent_us, window_s=window_s, reading=refund.reading
            )
    return state


def decide(
    state: State,
    wanted: Acquisition,
    terms: Mapping[str, Any],
    *,
    now_us: int,
    replicas: int,
    reading: ClockReading | None = None,
) -> Grant[Any]:
    """Grant what a limit's terms allow; `terms` are its amount, window and period."""
    asked = {"now_us": now_us, "want": wanted.units, "waiting": wanted.waiting, "replicas": replicas}
    amount = terms["amount"]
    if isinstance(state, Counter):
        return quota.grant(state, amount=amount, period=terms["period"], **asked)
    if isinstance(state, Flow):
        return gcra.grant(state, amount=amount, window_s=terms["window_s"], **asked)
    life_us = wanted.life_ms * 1_000
    return sliding_window.grant(
        state, amount=amount, window_s=terms["window_s"], reading=reading, life_us=life_us, **asked
    )


def places(wanted: Acquisition, terms: Mapping[str, Any], out: int, *, now_us: int, replicas: int) -> Grant[Counter]:
    """Grant what a limit of concurrent requests allows; `out` of its slots are held."""
    return concurrency.grant(
        out,
        now_us=now_us,
        amount=terms["amount"],
        want=wanted.units,
        replicas=replicas,
        waiting=wanted.waiting,
    )


def spent_before(item: Return, reading: ClockReading | None) -> ClockReading | None:
    """Return the moment before which the last unit of a lease was spent, where it may be told to others."""
    if reading is None or item.ago_us is None or not item.exact:
        return None
    return ClockReading(reading.name, max(1, reading.us - item.ago_us + 1))


def _take_back(
    connection: Connection, replica: str, returns: Sequence[Return], reading: ClockReading | None
) -> dict[str, list[Refund]]:
    """Tell what leases returned may refund. A return sent twice finds its lease deleted, or as small as it makes it."""
    known = {int(item.lease): item for item in returns if _is_lease_id(item.lease)}
    refunds: dict[str, list[Refund]] = {}
    for row in _shrink(connection, replica, [item for item in known.values() if item.used is not None]):
        refunds.setdefault(row["state_id"], []).append(Refund(row["bucket"], row["unspent"], 0))
    ended = [number for number, item in known.items() if item.used is None]
    if not ended:
        return refunds
    rows = connection.execute(
        "/* leases.take_back */ DELETE FROM lease WHERE id = ANY(%s) AND replica = %s "
        "RETURNING id, state_id, bucket, units",
        (ended, replica),
    )
    for row in rows:
        item = known[row["id"]]
        unspent = min(item.unspent or 0, row["units"])
        refund = Refund(
            row["bucket"],
            unspent,
            row["units"] - unspent,
            item.ago_us,
            spent_before(item, reading),
        )
        refunds.setdefault(row["state_id"], []).append(refund)
    return refunds


def _shrink(connection: Connection, replica: str, returns: Sequence[Return]) -> list[dict[str, Any]]:
    """Leave of leases what calls under way may yet give back; those calls may take an hour."""
    if not returns:
        return []
    return connection.execute(
        "/* leases.shrink */ WITH told AS (SELECT id, units, used FROM lease "
        "JOIN unnest(%s::bigint[], %s::bigint[]) AS told (id, used) USING (id) "
        "WHERE replica = %s AND bucket >= 0 FOR UPDATE OF lease) "
        "UPDATE lease SET units = least(lease.units, used), ends_at = clock_timestamp() + %s * interval '1 second' "
        "FROM told WHERE lease.id = told.id "
        "RETURNING state_id, bucket, greatest(told.units - used, 0) AS unspent",
        ([int(item.lease) for item in returns], [item.used for item in returns], replica, _CALL_S),
    ).fetchall()


def _open(connection: Connection, service: str | None, acquisitions: Sequence[Acquisition]) -> dict[str, Acquisition]:
    """Return what is wanted by limit, for limits that a service may spend, each with a row from now on."""
    _prune(connection)
    wanted = {item.limit: item for item in acquisitions if _is_limit_id(item.limit)}
    rows = connection.execute(
        "/* leases.open */ WITH known AS ("
        "SELECT wanted.id, account.id AS account_id FROM unnest(%s::text[]) AS wanted (id) "
        "JOIN plan_limit ON plan_limit.id = split_part(wanted.id, ':', 1)::bigint "
        "LEFT JOIN key ON subject = 'key' AND key.id = split_part(wanted.id, ':', 2) "
        "JOIN account ON account.id = "
        "CASE subject WHEN 'key' THEN key.account_id ELSE split_part(wanted.id, ':', 2) END "
        "WHERE (account.plan_id = plan_limit.plan_id OR key.id = plan_limit.key_id) AND (%s::text IS NULL OR EXISTS ("
        "SELECT FROM told_key JOIN key AS told ON told.id = told_key.key_id "
        "WHERE told_key.service = %s AND told.account_id = account.id AND (key.id IS NULL OR told.id = key.id)))), "
        "opened AS (INSERT INTO limit_state (id, account_id) SELECT id, account_id FROM known ORDER BY id "
        "ON CONFLICT DO NOTHING) "
        "SELECT id FROM known",
        (list(wanted), service, service),
    )
    return {row["id"]: wanted[row["id"]] for row in rows}


def _lock(connection: Connection, state_ids: list[str]) -> list[dict[str, Any]]:
    """Lock rows in the order of their ids, so that heartbeats wait for each other and never in a circle."""
    if not state_ids:
        return []
    return connection.execute(
        "/* leases.lock */ "
        "SELECT limit_state.id, head, cells, ends, clock, stamps, unit, amount, window_s, period, smooth "
        "FROM limit_state JOIN plan_limit ON plan_limit.id = split_part(limit_state.id, ':', 1)::bigint "
        "WHERE limit_state.id = ANY(%s) ORDER BY limit_state.id FOR UPDATE OF limit_state",
        (state_ids,),
    ).fetchall()


def _now_us(connection: Connection) -> int:
    row = connection.execute(
        "/* leases.now */ SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now_us"
    ).fetchone()
    return int(row["now_us"]) if row else 0


def _write(connection: Connection, states: Mapping[str, State]) -> None:
    if not states:
        return
    connection.execute(
        "/* leases.write */ UPDATE limit_state "
        "SET head = written.head, cells = written.cells::bigint[], ends = written.ends::bigint[], "
        "clock = written.clock, stamps = written.stamps::bigint[] "
        "FROM unnest(%s::text[], %s::bigint[], %s::text[], %s::text[], %s::text[], %s::text[]) "
        "AS written (id, head, cells, ends, clock, stamps) "
        "WHERE limit_state.id = written.id",
        (
            list(states),
            [state.head for state in states.values()],
            [_array(state.cells) for state in states.values()],
            [_array(state.ends) for state in states.values()],
            [state.clock for state in states.values()],
            [_array(state.stamps) for state in states.values()],
        ),
    )


def _array(numbers: Sequence[int]) -> str:
    return "{" + ",".join(map(str, numbers)) + "}"


def _hand_out(connection: Connection, replica: str, granted: Sequence[Granted]) -> list[Granted]:
    given = [item for item in granted if item.grant.units]
    if not given:
        return list(granted)
    rows = connection.execute(
        "/* leases.hand_out */ INSERT INTO lease (state_id, replica, bucket, units, ends_at) "
        "SELECT state_id, %s, bucket, units, timestamptz 'epoch' + ends_us * interval '1 microsecond' "
        "FROM unnest(%s::text[], %s::bigint[], %s::bigint[], %s::bigint[]) AS given (state_id, bucket, units, ends_us) "
        "RETURNING id, state_id",
        (
            replica,
            [item.limit_id for item in given],
            [bucket(item.grant) for item in given],
            [item.grant.units for item in given],
            [item.grant.ends_us for item in given],
        ),
    )
    numbers = {row["state_id"]: row["id"] for row in rows}
    return [Granted(item.limit_id, numbers.get(item.limit_id), item.grant, item.now_us) for item in granted]


def bucket(grant: Grant[Any]) -> int:
    """Name where a lease's units are counted: in a budget's period, up to a flow's head, or under a rate's end."""
    return grant.ends_us if isinstance(grant.state, Log) else int(grant.state.head)


def _prune(connection: Connection) -> None:
    """Delete leases that ended and of which no replica told: what was not spent of them is burnt.

    The clock's own time would be no index condition: every lease there is would be read.
    """
    connection.execute(
        "/* leases.prune */ DELETE FROM lease WHERE id IN (SELECT id FROM lease "
        "WHERE ends_at < statement_timestamp() - %s * interval '1 second' ORDER BY ends_at LIMIT %s "
        "FOR UPDATE SKIP LOCKED)",
        (_KEPT_S, _PRUNED),
    )
