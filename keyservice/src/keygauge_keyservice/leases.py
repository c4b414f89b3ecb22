"""Leases over PostgreSQL: take back, lock, decide, write, in a fixed number of statements whatever their count."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from keygauge_keyservice import budget, ring
from keygauge_keyservice.beat_message import Acquisition, Return
from keygauge_keyservice.counter import Counter, Grant
from keygauge_keyservice.database import Connection

_is_limit_id = re.compile(r"([0-9]{1,18}):([0-9A-Za-z_-]{1,64})", re.ASCII).fullmatch
_is_lease_id = re.compile(r"[0-9]{1,18}", re.ASCII).fullmatch
_PRUNED = 500  # ended leases per beat: more than a beat can make


@dataclass(frozen=True)
class Granted:
    """A grant that is in the database: its lease's number, and the moment it was decided."""

    limit_id: str
    lease_id: int | None  # None: refused
    grant: Grant
    now_us: int


@dataclass(frozen=True)
class _Refund:
    head: int
    units: int
    ends_us: int


def exchange(
    connection: Connection,
    *,
    replica: str,
    returns: Sequence[Return],
    acquisitions: Sequence[Acquisition],
    replicas: int,
) -> list[Granted]:
    """Take leases back and give leases out, in the caller's transaction; those that are not known are passed over."""
    refunds = _take_back(connection, replica, returns)
    wanted = _open(connection, acquisitions) if acquisitions else {}
    if not refunds and not wanted:
        return []
    states = _lock(connection, sorted({*refunds, *wanted}))
    now_us = _now_us(connection)  # after the locks: the transaction's own time may be older than its neighbour's
    counters, granted = {}, []
    for state in states:
        counter = before = Counter(state["head"], tuple(state["cells"]))
        for refund in refunds.get(state["id"], ()):
            if now_us < refund.ends_us:
                counter = counter.refund(refund.units, head=refund.head)
        if state["id"] in wanted:
            grant = _grant(counter, state, now_us=now_us, want=wanted[state["id"]], replicas=replicas)
            granted.append(Granted(state["id"], None, grant, now_us))
            counter = grant.counter
        if counter != before:
            counters[state["id"]] = counter
    _write(connection, counters)
    return _hand_out(connection, replica, granted)


def _grant(counter: Counter, state: Mapping[str, Any], *, now_us: int, want: int, replicas: int) -> Grant:
    amount, window_s, period = state["amount"], state["window_s"], state["period"]
    if window_s is not None:
        return ring.grant(counter, now_us=now_us, amount=amount, window_s=window_s, want=want, replicas=replicas)
    return budget.grant(counter, now_us=now_us, amount=amount, period=period, want=want, replicas=replicas)


def _take_back(connection: Connection, replica: str, returns: Sequence[Return]) -> dict[str, list[_Refund]]:
    """Delete the leases returned, so that a return sent twice finds nothing, and tell what each may refund."""
    unspent = {int(item.lease_id): item.unspent for item in returns if _is_lease_id(item.lease_id)}
    if not unspent:
        return {}
    rows = connection.execute(
        "/* leases.take_back */ DELETE FROM lease WHERE id = ANY(%s) AND replica = %s "
        "RETURNING id, state_id, bucket, units, (extract(epoch FROM ends_at) * 1000000)::bigint AS ends_us",
        (list(unspent), replica),
    )
    refunds: dict[str, list[_Refund]] = {}
    for row in rows:
        refund = _Refund(row["bucket"], min(unspent[row["id"]], row["units"]), row["ends_us"])
        refunds.setdefault(row["state_id"], []).append(refund)
    return refunds


def _open(connection: Connection, acquisitions: Sequence[Acquisition]) -> dict[str, int]:
    """Return the units wanted by limit, for the limits that exist, each with a row from now on."""
    _prune(connection)
    units = {item.limit_id: item.units for item in acquisitions if _is_limit_id(item.limit_id)}
    rows = connection.execute(
        "/* leases.open */ WITH known AS ("
        "SELECT wanted.id, account.id AS account_id FROM unnest(%s::text[]) AS wanted (id) "
        "JOIN plan_limit ON plan_limit.id = split_part(wanted.id, ':', 1)::bigint AND unit <> 'concurrent' "
        "LEFT JOIN key ON subject = 'key' AND key.id = split_part(wanted.id, ':', 2) "
        "JOIN account ON account.plan_id = plan_limit.plan_id AND account.id = "
        "CASE subject WHEN 'key' THEN key.account_id ELSE split_part(wanted.id, ':', 2) END), "
        "opened AS (INSERT INTO limit_state (id, account_id) SELECT id, account_id FROM known ORDER BY id "
        "ON CONFLICT DO NOTHING) "
        "SELECT id FROM known",
        (list(units),),
    )
    return {row["id"]: units[row["id"]] for row in rows}


def _lock(connection: Connection, state_ids: list[str]) -> list[dict[str, Any]]:
    """Lock rows in the order of their ids, so that beats wait for each other and never in a circle."""
    return connection.execute(
        "/* leases.lock */ SELECT limit_state.id, head, cells, amount, window_s, period FROM limit_state "
        "JOIN plan_limit ON plan_limit.id = split_part(limit_state.id, ':', 1)::bigint "
        "WHERE limit_state.id = ANY(%s) ORDER BY limit_state.id FOR UPDATE OF limit_state",
        (state_ids,),
    ).fetchall()


def _now_us(connection: Connection) -> int:
    row = connection.execute(
        "/* leases.now */ SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now_us"
    ).fetchone()
    return int(row["now_us"]) if row else 0


def _write(connection: Connection, counters: Mapping[str, Counter]) -> None:
    if not counters:
        return
    connection.execute(
        "/* leases.write */ UPDATE limit_state SET head = written.head, cells = written.cells::bigint[] "
        "FROM unnest(%s::text[], %s::bigint[], %s::text[]) AS written (id, head, cells) "
        "WHERE limit_state.id = written.id",
        (
            list(counters),
            [counter.head for counter in counters.values()],
            ["{" + ",".join(map(str, counter.cells)) + "}" for counter in counters.values()],
        ),
    )


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
            [item.grant.counter.head for item in given],
            [item.grant.units for item in given],
            [item.grant.ends_us for item in given],
        ),
    )
    numbers = {row["state_id"]: row["id"] for row in rows}
    return [Granted(item.limit_id, numbers.get(item.limit_id), item.grant, item.now_us) for item in granted]


def _prune(connection: Connection) -> None:
    """Delete leases that ended: what was not spent of them is burnt."""
    connection.execute(
        "/* leases.prune */ DELETE FROM lease WHERE id IN (SELECT id FROM lease "
        "WHERE ends_at < clock_timestamp() ORDER BY ends_at LIMIT %s FOR UPDATE SKIP LOCKED)",
        (_PRUNED,),
    )
