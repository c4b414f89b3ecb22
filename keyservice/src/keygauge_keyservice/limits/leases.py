"""Leases over PostgreSQL: take back, lock, decide, write, in a fixed number of statements whatever their count."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from keygauge.protocol import ENTRIES_MAX, Acquisition, ClockReading, Hold, Progress, Return
from keygauge_keyservice.database import Connection
from keygauge_keyservice.limits.grant import Counter, Grant
from keygauge_keyservice.limits.kinds import concurrency, gcra, quota, sliding_window
from keygauge_keyservice.limits.kinds.concurrency import Kept
from keygauge_keyservice.limits.kinds.gcra import Flow
from keygauge_keyservice.limits.kinds.sliding_window import Log
from keygauge_keyservice.limits.replicas import use

_is_limit_id = re.compile(r"([0-9]{1,18}):([0-9A-Za-z_-]{1,64})", re.ASCII).fullmatch
_is_lease_id = re.compile(r"[0-9]{1,18}", re.ASCII).fullmatch
_PRUNED = 500  # ended leases per heartbeat: more than a heartbeat can make
_KEPT_S = 60  # how long an ended lease is remembered: a replica may tell late what it did not spend of it
_SOON_US = 1_000_000  # who is denied units asks again after so long
_CALL_S = 3600  # how long calls under way may take to give back what they reserved and did not use


State = Counter | Log | Flow


@dataclass(frozen=True)
class Granted:
    """A grant that is in the database: its lease's number, and the moment it was decided."""

    limit_id: str
    lease_id: int | None  # None: refused
    grant: Grant[Any]
    now_us: int
    replicas: int = 1  # that use the limit
    is_soon: bool = False  # others hold units of it that may come back


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
    wanted: Sequence[str] = ()  # limits of which the replica holds units that others were denied


def exchange(
    connection: Connection,
    *,
    service: str | None,
    replica: str,
    returns: Sequence[Return] = (),
    acquisitions: Sequence[Acquisition] = (),
    holds: Sequence[Hold] = (),
    progress: Sequence[Progress] = (),
    reading: ClockReading | None = None,
    replicas: int,
) -> Exchanged:
    """Take leases back and give leases out, in the caller's transaction; those that are not known are passed over.

    `replicas` are alive; of these, those that use a limit share it.
    A `service` spends limits of keys that it was told of only; None: whoever calls from within.
    """
    refunds = _take_back(connection, replica, returns, reading)
    wanted = _open(connection, service, acquisitions) if acquisitions else {}
    held = [hold for hold in holds if _is_lease_id(hold.lease)]
    states = _lock(connection, sorted({*refunds, *wanted, *concurrency.find(connection, replica, held)}))
    _note_spent(connection, replica, progress)
    if not states:
        return Exchanged(wanted=_wanted(connection, replica))
    now_us = _now_us(connection)  # after the locks: the transaction's own time may be older than its neighbour's
    kept = concurrency.keep(connection, replica, held)
    others = use(connection, replica, list(wanted)) if wanted else {}
    users = {name: min(replicas, 1 + others.get(name, 0)) for name in wanted}
    out = concurrency.count(connection, [row["id"] for row in states if row["unit"] == "concurrent"])
    changed: dict[str, State] = {}
    short: dict[str, Grant[Any]] = {}
    granted = []
    for row in states:
        if row["unit"] == "concurrent":
            if row["id"] in wanted:
                number = users[row["id"]]
                given = places(wanted[row["id"]], row, out.get(row["id"], 0), now_us=now_us, replicas=number)
                granted.append(Granted(row["id"], None, given, now_us, number))
            continue
        before = state_of(row)
        state = settle(before, refunds.get(row["id"], ()), row, now_us=now_us)
        if row["id"] in wanted:
            number = users[row["id"]]
            grant = decide(state, wanted[row["id"]], row, now_us=now_us, replicas=number, reading=reading)
            granted.append(Granted(row["id"], None, grant, now_us, number))
            state = grant.state
            if lacks(grant, wanted[row["id"]]):
                short[row["id"]] = grant
        if state != before:
            changed[row["id"]] = state
    _write(connection, changed)
    scarce = {
        row["id"]
        for row in states
        if concurrency.is_scarce(out.get(row["id"], 0), row["amount"], users.get(row["id"], replicas))
    }
    soon = _call_back(connection, replica, short) if short else set()
    return Exchanged(
        _hand_out(connection, replica, [replace(item, is_soon=item.limit_id in soon) for item in granted]),
        [Kept(str(row["id"]), row["state_id"] in scarce) for row in kept],
        _wanted(connection, replica),
    )


def lacks(grant: Grant[Any], wanted: Acquisition) -> bool:
    """Tell whether calls go on waiting for units that only others can give back soon."""
    return grant.units < max(1, wanted.waiting) and grant.reset_us > _SOON_US


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
        if not item.unspent and item.ago_us is None:  # spent as granted
            continue
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
        "UPDATE lease SET closed = true, units = least(lease.units, used), "
        "ends_at = clock_timestamp() + %s * interval '1 second' "
        "FROM told WHERE lease.id = told.id "
        "RETURNING state_id, bucket, greatest(told.units - used, 0) AS unspent",
        ([int(item.lease) for item in returns], [item.used for item in returns], replica, _CALL_S),
    ).fetchall()


def _note_spent(connection: Connection, replica: str, progress: Sequence[Progress]) -> None:
    """Note what is spent of leases that go on."""
    told = {int(item.lease): item.spent for item in progress if _is_lease_id(item.lease)}
    if told:
        connection.execute(
            "/* leases.note_spent */ UPDATE lease SET spent = least(lease.units, told.spent) "
            "FROM unnest(%s::bigint[], %s::bigint[]) AS told (id, spent) "
            "WHERE lease.id = told.id AND replica = %s AND NOT closed",
            (list(told), list(told.values()), replica),
        )


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
    return [replace(item, lease_id=numbers.get(item.limit_id)) for item in granted]


def _call_back(connection: Connection, replica: str, short: Mapping[str, Grant[Any]]) -> set[str]:
    """Have other replicas asked for what they hold of limits; return those of which something may come back soon.

    Of a rate, most leases end by themselves as soon. Who was asked a while ago spends what it holds.
    A row that is locked belongs to a lease that is just given back.
    """
    rows = connection.execute(
        "/* leases.call_back */ WITH live AS (SELECT id, state_id, wanted_at, ends_at FROM lease "
        "WHERE state_id = ANY(%s) AND replica <> %s AND bucket >= 0 AND NOT closed AND ends_at > clock_timestamp() "
        "FOR UPDATE SKIP LOCKED), "
        "told AS (UPDATE lease SET wanted_at = clock_timestamp() FROM live "
        "WHERE lease.id = live.id AND live.wanted_at IS NULL) "
        "SELECT state_id, bool_or(ends_at > clock_timestamp() + interval '4 seconds') AS is_long FROM live "
        "WHERE coalesce(wanted_at > clock_timestamp() - interval '5 seconds', true) GROUP BY state_id",
        (list(short), replica),
    ).fetchall()
    return {row["state_id"] for row in rows if row["is_long"] or short[row["state_id"]].is_small}


def _wanted(connection: Connection, replica: str) -> list[str]:
    """Return the limits of which a replica holds units that others were denied."""
    rows = connection.execute(
        "/* leases.wanted */ SELECT DISTINCT state_id FROM lease "
        "WHERE replica = %s AND wanted_at IS NOT NULL AND NOT closed AND ends_at > clock_timestamp() LIMIT %s",
        (replica, ENTRIES_MAX),
    )
    return [row["state_id"] for row in rows]


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
