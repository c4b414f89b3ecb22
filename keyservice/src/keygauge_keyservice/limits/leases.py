"""Leases over PostgreSQL: take back, lock, decide, write, in a fixed number of statements whatever their count.

Many replicas are answered at once. They are served in turn, as if each had a transaction of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from keygauge.protocol import ENTRIES_MAX, Acquisition, ClockReading, Hold, Progress, Return
from keygauge_keyservice.database import Connection
from keygauge_keyservice.limits import lease_rows, replicas
from keygauge_keyservice.limits.grant import Counter, Grant
from keygauge_keyservice.limits.kinds import concurrency, gcra, quota, sliding_window
from keygauge_keyservice.limits.kinds.concurrency import Kept
from keygauge_keyservice.limits.kinds.gcra import Flow
from keygauge_keyservice.limits.kinds.sliding_window import Log

_is_limit_id = re.compile(r"([0-9]{1,18}):([0-9A-Za-z_-]{1,64})", re.ASCII).fullmatch
_is_lease_id = re.compile(r"[0-9]{1,18}", re.ASCII).fullmatch
_SOON_US = 1_000_000  # who is denied units asks again after so long


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


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a replica gives back and asks for; those leases that are not known are passed over.

    A `service` spends limits of keys that it was told of only; None: whoever calls from within.
    """

    service: str | None
    replica: str
    returns: Sequence[Return] = ()
    acquisitions: Sequence[Acquisition] = ()
    holds: Sequence[Hold] = ()
    progress: Sequence[Progress] = ()
    reading: ClockReading | None = None


@dataclass(frozen=True)
class Exchanged:
    """What was granted or refused, and which leases of slots are kept."""

    granted: Sequence[Granted] = ()
    kept: Sequence[Kept] = ()
    wanted: Sequence[str] = ()  # limits of which the replica holds units that others were denied


Wanted: TypeAlias = Mapping[str, Sequence[tuple[Asked, Acquisition]]]
"""Who asks for units of a limit, by the limit's id."""


def exchange(connection: Connection, asked: Sequence[Asked], *, alive: int) -> list[Exchanged]:
    """Take leases back and give leases out, in the caller's transaction, to replicas of which each asks once.

    So many replicas are `alive`; of these, those that use a limit share it.
    """
    refunds = _take_back(connection, asked)
    wanted = _open(connection, asked)
    held = {(one.replica, int(item.lease)): item.units for one in asked for item in one.holds if _is_lease(item)}
    rows = lease_rows.lock(connection, sorted({*refunds, *wanted, *concurrency.find(connection, held)}))
    _note_spent(connection, asked)
    called_back = lease_rows.wanted(connection, [one.replica for one in asked])
    if not rows:
        return [Exchanged(wanted=called_back.get(one.replica, ())[:ENTRIES_MAX]) for one in asked]
    now_us = lease_rows.now_us(connection)  # after the locks
    kept = concurrency.keep(connection, held)
    users = _users(connection, wanted, alive)
    out = concurrency.count(connection, [row["id"] for row in rows if row["unit"] == "concurrent"])
    scarce = {
        row["id"]
        for row in rows
        if concurrency.is_scarce(out.get(row["id"], 0), row["amount"], users.get(row["id"], alive))
    }
    decided = _Decided({}, {}, [])
    for row in rows:
        asking, number = wanted.get(row["id"], ()), users.get(row["id"], alive)
        if row["unit"] == "concurrent":
            decided.slots(row, asking, out.get(row["id"], 0), now_us=now_us, users=number)
        else:
            decided.units(row, refunds.get(row["id"], ()), asking, now_us=now_us, users=number)
    lease_rows.write(connection, decided.changed)
    granted = decided.hand_out(connection)
    return [
        Exchanged(
            granted.get(one.replica, ()),
            [Kept(str(row["id"]), row["state_id"] in scarce) for row in kept if row["replica"] == one.replica],
            called_back.get(one.replica, ())[:ENTRIES_MAX],
        )
        for one in asked
    ]


@dataclass(frozen=True)
class _Decided:
    """What is decided and not yet in the database."""

    changed: dict[str, State]
    short: dict[tuple[str, str], Mapping[str, Any]]  # by replica and limit, its row: calls wait for what others hold
    granted: list[tuple[str, Granted]]

    def slots(
        self, row: Mapping[str, Any], asking: Sequence[tuple[Asked, Acquisition]], out: int, *, now_us: int, users: int
    ) -> None:
        """Give slots of a limit of concurrent requests, of which `out` are held."""
        for one, item in asking:
            given = places(item, row, out, now_us=now_us, replicas=users)
            out += given.units
            self.granted.append((one.replica, Granted(row["id"], None, given, now_us, users)))

    def units(
        self,
        row: Mapping[str, Any],
        refunds: Sequence[Refund],
        asking: Sequence[tuple[Asked, Acquisition]],
        *,
        now_us: int,
        users: int,
    ) -> None:
        """Take units of a limit back and give units out."""
        before = state_of(row)
        state = settle(before, refunds, row, now_us=now_us)
        for one, item in asking:
            grant = decide(state, item, row, now_us=now_us, replicas=users, reading=one.reading)
            state = grant.state
            self.granted.append((one.replica, Granted(row["id"], None, grant, now_us, users)))
            if lacks(grant, item):
                self.short[one.replica, row["id"]] = row
        if state != before:
            self.changed[row["id"]] = state

    def hand_out(self, connection: Connection) -> dict[str, list[Granted]]:
        """Make leases of what is granted, and have replicas asked for what others lack; return it all by replica."""
        given = [
            (item.limit_id, replica, bucket(item.grant), item.grant.units, item.grant.ends_us)
            for replica, item in self.granted
            if item.grant.units
        ]
        numbers = lease_rows.hand_out(connection, given)
        live = lease_rows.call_back(connection, self.short)  # what was given just now counts
        found: dict[str, list[Granted]] = {}
        for replica, item in self.granted:
            pair = replica, item.limit_id
            is_soon = pair in live and may_come_back(self.short[pair], live[pair])
            found.setdefault(replica, []).append(replace(item, lease_id=numbers.get(pair), is_soon=is_soon))
        return found


def may_come_back(terms: Mapping[str, Any], out: lease_rows.Out) -> bool:
    """Tell whether units that are out may be there soon: others hold them, or calls under way reserved tokens or cost.

    What a replica took of its leases is told of quotas alone; those of rates end within seconds.
    """
    return out.is_held or (terms["unit"] != "request" and (out.is_taken or not terms["period"]))


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


def bucket(grant: Grant[Any]) -> int:
    """Name where a lease's units are counted: in a budget's period, up to a flow's head, or under a rate's end."""
    return grant.ends_us if isinstance(grant.state, Log) else int(grant.state.head)


def _is_lease(item: Return | Hold | Progress) -> bool:
    return _is_lease_id(item.lease) is not None


def _take_back(connection: Connection, asked: Sequence[Asked]) -> dict[str, list[Refund]]:
    """Tell what leases returned may refund. A return sent twice finds its lease deleted, or as small as it makes it."""
    known = {(one.replica, int(item.lease)): (item, one) for one in asked for item in one.returns if _is_lease(item)}
    refunds: dict[str, list[Refund]] = {}
    used = {pair: item.used for pair, (item, _) in known.items() if item.used is not None}
    for row in lease_rows.shrink(connection, used):
        refunds.setdefault(row["state_id"], []).append(Refund(row["bucket"], row["unspent"], 0))
    for row in lease_rows.take_back(connection, known.keys() - used.keys()):
        item, one = known[row["replica"], row["id"]]
        if not item.unspent and item.ago_us is None:  # spent as granted
            continue
        unspent = min(item.unspent or 0, row["units"])
        spent = row["units"] - unspent
        refund = Refund(row["bucket"], unspent, spent, item.ago_us, spent_before(item, one.reading))
        refunds.setdefault(row["state_id"], []).append(refund)
    return refunds


def _note_spent(connection: Connection, asked: Sequence[Asked]) -> None:
    spent = {(one.replica, int(item.lease)): item.spent for one in asked for item in one.progress if _is_lease(item)}
    lease_rows.note_spent(connection, spent)


def _open(connection: Connection, asked: Sequence[Asked]) -> Wanted:
    """Return what is wanted of the limits that its services may spend, each with a row from now on."""
    told = [(one, item) for one in asked for item in one.acquisitions if _is_limit_id(item.limit)]
    if not told:
        return {}
    allowed = lease_rows.open_limits(
        connection, {(one.service, item.limit) for one, item in told}, heartbeats=len(asked)
    )
    wanted: dict[str, list[tuple[Asked, Acquisition]]] = {}
    for one, item in told:
        if (one.service, item.limit) in allowed:
            wanted.setdefault(item.limit, []).append((one, item))
    return wanted


def _users(connection: Connection, wanted: Wanted, alive: int) -> dict[str, int]:
    """Count the replicas that use each limit that is asked for, those that ask now included."""
    pairs = {(one.replica, name) for name, asking in wanted.items() for one, _ in asking}
    others = replicas.use(connection, pairs)
    return {name: min(alive, len(asking) + others.get(name, 0)) for name, asking in wanted.items()}
