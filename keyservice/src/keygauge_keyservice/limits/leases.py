"""Leases in PostgreSQL: take back, lock, decide and write, in a constant number of statements.

Many replicas are answered at once, in turn, as if each had its own transaction.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

from keygauge.protocol import ENTRIES_MAX, Acquisition, ClockReading, Hold, Lost, Progress, Return
from keygauge_keyservice.database import Connection
from keygauge_keyservice.limits import kinds, lease_rows, replicas, tag_counters
from keygauge_keyservice.limits.grant import Grant
from keygauge_keyservice.limits.kinds import concurrency, quota
from keygauge_keyservice.limits.kinds.concurrency import Kept
from keygauge_keyservice.limits.kinds.kind import Columns, Refund, Wish

_is_limit_id = re.compile(r"[0-9]{1,18}:[0-9A-Za-z_-]{1,64}(:[0-9a-f]{32})?", re.ASCII).fullmatch
_is_lease_id = re.compile(r"[0-9]{1,18}", re.ASCII).fullmatch
_SOON_US = 1_000_000  # when replicas that were denied units ask again
_SURPLUS_US = 60_000_000  # … for a tag beyond the maximum


class Unused(NamedTuple):
    """Units of a limit that others had not used at their last reports, and that the replica itself does not hold."""

    units: int
    told_ms: int = 0


@dataclass(frozen=True)
class Granted:
    """A grant stored in the database, with its lease's number and the time of the decision."""

    limit_id: str
    lease_id: int | None  # None: denied
    grant: Grant[Any]
    now_us: int
    replicas: int = 1  # that use the limit
    unused: Unused | None = None  # of limits of which replicas report progress
    is_soon: bool = False  # units may come back soon, held by others or reserved by calls in progress
    retry_us: int = 0  # from now until enough units for the first waiting call come free


@dataclass(frozen=True, kw_only=True)
class LeaseRequest:
    """What a replica gives back and requests; unknown leases are ignored.

    A `service` may only spend limits of keys that it has looked up; None for internal callers.
    """

    service: str | None
    replica: str
    heartbeat: int = 0  # its number
    lost: Sequence[Lost] = ()
    returns: Sequence[Return] = ()
    acquisitions: Sequence[Acquisition] = ()
    holds: Sequence[Hold] = ()
    progress: Sequence[Progress] = ()
    reading: ClockReading | None = None


@dataclass(frozen=True)
class Exchanged:
    """The result for one replica: grants, denials, and renewed leases of slots."""

    granted: Sequence[Granted] = ()
    kept: Sequence[Kept] = ()
    wanted: Sequence[str] = ()  # limits whose units others need back from this replica


EarlierUse: TypeAlias = Callable[[Connection, Sequence[lease_rows.Row], int], Mapping[str, int]]
"""Returns the use of quotas in their current period before their rows were created, by id, given the rows and the time.

Rows may be left out: their requests get no answer, so calls ask again.
"""

Wanted: TypeAlias = Mapping[str, Sequence[tuple[LeaseRequest, Acquisition]]]
"""The requests for units, per limit id."""


def no_earlier_use(_connection: Connection, rows: Sequence[lease_rows.Row], _now_us: int) -> Mapping[str, int]:
    """Return no use, without a ledger."""
    return {row["id"]: 0 for row in rows}


def exchange(
    connection: Connection,
    requests: Sequence[LeaseRequest],
    *,
    alive: int,
    earlier_use: EarlierUse = no_earlier_use,
) -> list[Exchanged]:
    """Take leases back and grant leases in the caller's transaction; each replica has one request.

    `alive` is the number of live replicas; those of them that use a limit share it.
    """
    refunds = _take_back(connection, requests)
    wanted, surplus, made = _open(connection, requests)
    held = {(one.replica, int(item.lease)): item for one in requests for item in one.holds if _is_lease(item)}
    rows = lease_rows.lock(connection, sorted({*refunds, *wanted, *made, *concurrency.find(connection, held)}))
    _note_progress(connection, requests)
    called_back = lease_rows.wanted(connection, [one.replica for one in requests])
    if not rows and not wanted and not surplus:
        return [Exchanged(wanted=called_back.get(one.replica, ())[:ENTRIES_MAX]) for one in requests]
    now_us = lease_rows.now_us(connection)  # after the locks
    incomplete = [row for row in rows if row["period"] and not row["is_complete"]]
    earlier = earlier_use(connection, incomplete, now_us) if incomplete else {}
    left_out = {row["id"] for row in incomplete} - earlier.keys()
    tag_counters.count(connection, made)
    renewed = concurrency.keep(connection, held)
    users = dict.fromkeys((row["id"] for row in rows), alive) | _users(connection, wanted, alive)
    slots = concurrency.count(connection, [row["id"] for row in rows if row["unit"] == "concurrent"])
    kept = _kept(renewed, rows, slots, users)
    decided = _Decided({one.replica: one.heartbeat for one in requests}, {}, {}, [], {})
    for row in rows:
        name = row["id"]
        with_slots = {**row, "out": slots.get(name, 0)}
        asking = () if name in left_out else wanted.get(name, ())
        back = refunds.get(name, ())
        decided.decide(with_slots, back, asking, now_us=now_us, users=users[name], earlier_use=earlier.get(name))
    decided.deny(surplus, now_us=now_us, reset_us=_SURPLUS_US)
    # Limits or tag counters deleted in the meantime get no answer: their replicas learn what changed.
    lease_rows.write(connection, decided.changed, incomplete=left_out)
    granted = decided.hand_out(connection)
    return [
        Exchanged(granted.get(name, ()), kept.get(name, ()), called_back.get(name, ())[:ENTRIES_MAX])
        for name in (one.replica for one in requests)
    ]


def _kept(
    renewed: Sequence[lease_rows.Row],
    rows: Sequence[lease_rows.Row],
    slots: Mapping[str, int],
    users: Mapping[str, int],
) -> dict[str, list[Kept]]:
    """Return the renewed leases per replica, given the slots held of each limit and the replicas that use it."""
    amounts = {row["id"]: row["amount"] for row in rows}  # without limits deleted in the meantime
    kept: dict[str, list[Kept]] = {}
    for row in renewed:
        name = row["state_id"]
        held, amount = slots.get(name, 0), amounts.get(name, 0)
        is_scarce = name in amounts and concurrency.is_scarce(held, amount, users[name])
        kept.setdefault(row["replica"], []).append(Kept(str(row["id"]), is_scarce, max(0, amount - held)))
    return kept


@dataclass(frozen=True)
class _Decided:
    """Decisions that are not yet in the database."""

    heartbeats: Mapping[str, int]  # number of each replica's heartbeat
    changed: dict[str, Columns]
    short: dict[tuple[str, str], int]  # per replica and limit: units that the first waiting call still lacks
    granted: list[tuple[str, Granted]]
    left: dict[str, int]  # per limit of which replicas report progress: what is left after all grants

    def decide(
        self,
        row: Mapping[str, Any],
        refunds: Sequence[Refund],
        asking: Sequence[tuple[LeaseRequest, Acquisition]],
        *,
        now_us: int,
        users: int,
        earlier_use: int | None,
    ) -> None:
        """Take back and grant units of one limit; with `earlier_use`, its row is complete from now on."""
        state = before = kinds.load(row)
        if earlier_use is not None:
            state = quota.with_earlier_use(row, earlier_use, now_us=now_us)
        for refund in refunds:
            state = state.take_back(refund, row, now_us=now_us)
        for one, item in asking:
            grant = state.give(Wish(item, now_us, users, one.reading), row)
            state = grant.state
            self.granted.append((one.replica, Granted(row["id"], None, grant, now_us, users)))
            if lease_rows.is_reported(row) and grant.units:
                self.left[row["id"]] = grant.remaining
            if lacks(grant, item):
                self.short[one.replica, row["id"]] = max(1, item.least - grant.units)
        is_changed = state != before or earlier_use is not None
        if is_changed and (columns := state.dump()):
            self.changed[row["id"]] = columns

    def deny(self, wanted: Wanted, *, now_us: int, reset_us: int) -> None:
        """Deny units of limits that have no row."""
        for name, asking in wanted.items():
            nothing: Grant[None] = Grant(state=None, units=0, remaining=0, ends_us=now_us, reset_us=reset_us)
            self.granted.extend((one.replica, Granted(name, None, nothing, now_us)) for one, _ in asking)

    def hand_out(self, connection: Connection) -> dict[str, list[Granted]]:
        """Create leases for grants, and call back what others lack; return all results per replica."""
        given = [
            (item.limit_id, replica, self.heartbeats[replica], item.grant.bucket, item.grant.units, item.grant.ends_us)
            for replica, item in self.granted
            if item.grant.units
        ]
        numbers = lease_rows.hand_out(connection, given)
        back = lease_rows.call_back(connection, self.short)  # after `hand_out`: the new leases count
        held = lease_rows.held(connection, list(self.left))
        found: dict[str, list[Granted]] = {}
        for replica, item in self.granted:
            pair, others = (replica, item.limit_id), held.get(item.limit_id, ())
            unused = self._unused(item.limit_id, [one for one in others if one.replica != replica])
            lacks = self.short.get(pair, 0) - back.get(pair, 0)
            granted = replace(
                item,
                lease_id=numbers.get(pair),
                unused=unused,
                is_soon=pair in self.short and lacks <= 0,
                retry_us=item.grant.retry_us(max(1, lacks)),
            )
            found.setdefault(replica, []).append(granted)
        return found

    def _unused(self, limit_id: str, others: Sequence[lease_rows.Held]) -> Unused | None:
        if limit_id not in self.left:
            return None
        told_ms = sum(one.told_ms for one in others) // max(1, len(others))
        return Unused(self.left[limit_id] + sum(one.units for one in others), told_ms)


def lacks(grant: Grant[Any], wanted: Acquisition) -> bool:
    """Return whether calls still wait for units that only others could give back soon."""
    if grant.units >= max(1, wanted.waiting):
        return False
    return grant.retry_us(max(1, wanted.least - grant.units)) > _SOON_US


def spent_before(item: Return, reading: ClockReading | None) -> ClockReading | None:
    """Return the time before which the last unit of a lease was spent, if other replicas may use it."""
    if reading is None or item.ago_us is None or not item.exact:
        return None
    return ClockReading(reading.name, max(1, reading.us - item.ago_us + 1))


def _is_lease(item: Return | Hold | Progress) -> bool:
    return _is_lease_id(item.lease) is not None


def _take_back(connection: Connection, requests: Sequence[LeaseRequest]) -> dict[str, list[Refund]]:
    """Return the refunds of returned and lost leases; repeated returns have no effect."""
    known = {(one.replica, int(item.lease)): (item, one) for one in requests for item in one.returns if _is_lease(item)}
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
    lost = [(one.replica, item.first, item.last) for one in requests for item in one.lost]
    for row in lease_rows.take_back_lost(connection, lost):
        refunds.setdefault(row["state_id"], []).append(Refund(row["bucket"], row["units"], 0))
    return refunds


def _note_progress(connection: Connection, requests: Sequence[LeaseRequest]) -> None:
    reports = [(one.replica, item) for one in requests for item in one.progress if _is_lease(item)]
    progress = {(replica, int(item.lease)): (item.spent, item.reserved) for replica, item in reports}
    lease_rows.note_progress(connection, progress)


def _open(connection: Connection, requests: Sequence[LeaseRequest]) -> tuple[Wanted, Wanted, Mapping[str, int]]:
    """Return the allowed requests, the requests for tags beyond the maximum, and the number of new counters per limit.

    Rows of allowed limits are created.
    """
    acquisitions = [(one, item) for one in requests for item in one.acquisitions if _is_limit_id(item.limit)]
    if not acquisitions:
        return {}, {}, {}
    pairs = {(one.service, item.limit) for one, item in acquisitions}
    of_tags = {(service, name) for service, name in pairs if name.count(":") > 1}
    allowed = lease_rows.open_limits(connection, pairs - of_tags, heartbeats=len(requests))
    opened = tag_counters.Opened(set(), set(), {})
    if of_tags and (found := lease_rows.find_of_tags(connection, of_tags)):
        opened = tag_counters.open_new(connection, found)
    return _those(acquisitions, allowed | opened.allowed), _those(acquisitions, opened.surplus), opened.made


def _those(acquisitions: Sequence[tuple[LeaseRequest, Acquisition]], pairs: Collection[tag_counters.Pair]) -> Wanted:
    wanted: dict[str, list[tuple[LeaseRequest, Acquisition]]] = {}
    for one, item in acquisitions:
        if (one.service, item.limit) in pairs:
            wanted.setdefault(item.limit, []).append((one, item))
    return wanted


def _users(connection: Connection, wanted: Wanted, alive: int) -> dict[str, int]:
    """Return the number of replicas that use each requested limit, including those that request it now."""
    pairs = {(one.replica, name) for name, asking in wanted.items() for one, _ in asking}
    others = replicas.use(connection, pairs)
    return {name: min(alive, len(asking) + others.get(name, 0)) for name, asking in wanted.items()}
