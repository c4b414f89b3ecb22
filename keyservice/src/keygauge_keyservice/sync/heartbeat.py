"""Heartbeats of replicas: record them, report changes, find keys, take leases back and grant leases.

Many are answered in one transaction, with as many statements as for one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from msgspec.structs import replace

from keygauge import protocol
from keygauge.protocol import Denial, Found, Grant, HeartbeatAnswer, Held, Replaced
from keygauge_keyservice.database import Connection
from keygauge_keyservice.journal import change_feed
from keygauge_keyservice.journal.change_feed import Changes
from keygauge_keyservice.limits import followed, leases, replicas
from keygauge_keyservice.limits.kinds import concurrency
from keygauge_keyservice.limits.replicas import T_MAX_MS
from keygauge_keyservice.pricing import price_steps
from keygauge_keyservice.pricing.price_book import PriceBook
from keygauge_keyservice.secret import Peppers
from keygauge_keyservice.sync import key_entries, service_keys
from keygauge_keyservice.usage import earlier_use

_MS_US = 1_000
_SOON_MS = 1_000
_PLAN_KEYS_MAX = 1_000  # of a changed plan, sent to a replica that does not accept plans; beyond, it starts afresh


@dataclass(frozen=True)
class Received:
    """A replica's heartbeat, and the service that its token belongs to.

    A service only receives keys that it has looked up; None, for internal callers, receives all.
    """

    message: protocol.Heartbeat
    service: str | None


def answer(
    connection: Connection,
    received: Sequence[Received],
    *,
    peppers: Peppers,
    prices: PriceBook,
    lock_timeout_ms: int = 0,
) -> list[HeartbeatAnswer]:
    """Apply heartbeats of different replicas in the caller's transaction and return the protocol's answers."""
    received = _own(connection, received)
    alive, repeated = replicas.see(connection, [one.message for one in received], lock_timeout_ms=lock_timeout_ms)
    # Read before entries and plans, so that those are at least as new.
    changes = _changes(connection, received)
    found = _find(connection, received, peppers)
    unknowns = [_unknown(one.message, items) for one, items in zip(received, found, strict=True)]
    replaced = _find_replaced(connection, received, unknowns, peppers)
    known = _known(connection, received, changes, found)
    entries = key_entries.load(connection, list({key for keys in known for key in keys}))
    plans = _plans(connection, received, changes)  # after the entries: replicas apply them in this order
    # Read before rows of limits are locked.
    rates = _prices(connection, received, prices)
    requests = [_lease_request(one, again=one.message.replica in repeated) for one in received]
    leased = leases.exchange(connection, requests, alive=alive, earlier_use=earlier_use.find)
    unused = followed.find_unused(connection, [(one.message.replica, one.message.follow) for one in received])
    return [
        HeartbeatAnswer(
            cursor=change.cursor,
            epoch=change.epoch,
            more=change.more,
            afresh=change.afresh,
            t_max_ms=T_MAX_MS,
            replicas=alive,
            found=items,
            unknown=unknown,
            replaced=[past for past in replaced if past.digest in unknown],
            keys=[entries[key_id] for key_id in key_ids if key_id in entries],
            plans=plan,
            prices=rate,
            held=[held(item) for item in lease.kept],
            grants=[grant(item) for item in lease.granted if item.lease_id is not None],
            denials=[denial(item) for item in lease.granted if item.lease_id is None],
            unused=unused[one.message.replica],
            wanted=list(lease.wanted),
            repeated=one.message.replica in repeated,
        )
        for one, change, items, unknown, key_ids, plan, rate, lease in zip(
            received, changes, found, unknowns, known, plans, rates, leased, strict=True
        )
    ]


def _own(connection: Connection, received: Sequence[Received]) -> list[Received]:
    """Isolate services: none can access another's replicas, or report streams of keys that it has not looked up."""
    streamed: dict[str, set[str]] = {}
    for one in received:
        if one.service and one.message.streams:
            streamed.setdefault(one.service, set()).update(stream.key for stream in one.message.streams)
    known = {service: set(service_keys.of(connection, service, sorted(keys))) for service, keys in streamed.items()}
    return [_own_one(one, known.get(one.service, set())) if one.service else one for one in received]


def _own_one(one: Received, known: AbstractSet[str]) -> Received:
    message = one.message
    streams = [stream for stream in message.streams if stream.key in known]
    return dataclasses.replace(
        one, message=replace(message, replica=f"{message.replica}:{one.service}", streams=streams)
    )


def _unknown(message: protocol.Heartbeat, found: Sequence[Found]) -> list[str]:
    known = {item.digest for item in found}
    return [wanted.digest for wanted in message.look_up if wanted.digest not in known]


def _find(connection: Connection, received: Sequence[Received], peppers: Peppers) -> list[list[Found]]:
    """Return the secrets that each replica's digests belong to."""
    look_ups = {(item.key, item.digest): item for one in received for item in one.message.look_up}
    if not look_ups:
        return [[] for _ in received]
    known = {(item.key, item.digest): item for item in key_entries.look_up(connection, look_ups.values(), peppers)}
    return [
        [known[item.key, item.digest] for item in one.message.look_up if (item.key, item.digest) in known]
        for one in received
    ]


def _find_replaced(
    connection: Connection, received: Sequence[Received], unknowns: Sequence[list[str]], peppers: Peppers
) -> list[Replaced]:
    digests = {digest for unknown in unknowns for digest in unknown}
    look_ups = {item for one in received for item in one.message.look_up if item.digest in digests}
    return key_entries.find_replaced(connection, list(look_ups), peppers)


def _known(
    connection: Connection, received: Sequence[Received], changes: Sequence[Changes], found: Sequence[list[Found]]
) -> list[set[str]]:
    """Return the keys whose entries each replica receives: found ones, and changed ones that its service knows."""
    shown: dict[str | None, set[str]] = {}
    changed: dict[str | None, set[str]] = {}
    for one, change, items in zip(received, changes, found, strict=True):
        shown.setdefault(one.service, set()).update(item.key for item in items)
        changed.setdefault(one.service, set()).update(change.key_ids)
    for service in sorted(shown, key=str):  # always lock in the same order
        if shown[service]:
            service_keys.add(connection, service, shown[service])
    known = {service: set(service_keys.of(connection, service, list(ids))) for service, ids in changed.items() if ids}
    return [
        {item.key for item in items} | (known[one.service].intersection(change.key_ids) if change.key_ids else set())
        for one, change, items in zip(received, changes, found, strict=True)
    ]


def _changes(connection: Connection, received: Sequence[Received]) -> list[Changes]:
    """Return the changes that each replica has not seen; replicas that do not accept plans receive the plans' keys."""
    changes = change_feed.read_all(connection, [(one.message.cursor, one.message.epoch) for one in received])
    return [
        change if one.message.plans or not change.plan_ids else _by_key(connection, one.service, change)
        for one, change in zip(received, changes, strict=True)
    ]


def _by_key(connection: Connection, service: str | None, change: Changes) -> Changes:
    key_ids = service_keys.of_plans(connection, service, change.plan_ids, most=_PLAN_KEYS_MAX + 1)
    if len(key_ids) > _PLAN_KEYS_MAX:
        return dataclasses.replace(change, key_ids=[], plan_ids=[], afresh=True)
    return dataclasses.replace(change, key_ids=list({*change.key_ids, *key_ids}), plan_ids=[])


def _plans(
    connection: Connection, received: Sequence[Received], changes: Sequence[Changes]
) -> list[list[protocol.PlanEntry]]:
    """Return the plans that each replica receives: the changed ones of which its service knows keys."""
    changed: dict[str | None, set[str]] = {}
    for one, change in zip(received, changes, strict=True):
        changed.setdefault(one.service, set()).update(change.plan_ids)
    known = {service: service_keys.plans_of(connection, service, ids) for service, ids in changed.items()}
    entries = key_entries.load_plans(connection, sorted(set().union(*known.values())))
    return [
        [entries[plan_id] for plan_id in change.plan_ids if plan_id in known[one.service] and plan_id in entries]
        for one, change in zip(received, changes, strict=True)
    ]


def _lease_request(one: Received, *, again: bool) -> leases.LeaseRequest:
    """Return what a replica gives back and requests; a heartbeat that arrives again requests nothing."""
    message = one.message
    return leases.LeaseRequest(
        service=one.service,
        replica=message.replica,
        heartbeat=message.number,
        lost=message.lost,
        returns=message.returns,
        acquisitions=() if again else message.acquire,
        holds=message.hold,
        progress=message.progress,
        reading=message.clock,
    )


def _prices(connection: Connection, received: Sequence[Received], book: PriceBook) -> list[protocol.Prices | None]:
    if any(one.message.prices for one in received):
        book.refresh(connection)
    return [_rates(connection, one.message.prices, book, one.service) for one in received]


def _rates(
    connection: Connection, wanted: protocol.PricesWanted | None, book: PriceBook, service: str | None
) -> protocol.Prices | None:
    if wanted is None:
        return None
    state = book.state  # read before the rates, so that those are at least as new
    tariffs = {name.tariff for name in wanted.want if name.tariff is not None}
    own = service_keys.accounts_of(connection, service, tariffs) if tariffs else set()
    want = [name if name.tariff in own else replace(name, tariff=None) for name in wanted.want]
    return protocol.Prices(state, price_steps.answer(book, want))


def held(item: concurrency.Kept) -> Held:
    """Build the protocol's entry for a lease that continues."""
    return Held(item.lease_id, T_MAX_MS, small=item.is_scarce, remaining=item.left)


def grant(item: leases.Granted) -> Grant:
    """Build the protocol's entry for a grant."""
    unused = item.unused or leases.Unused(item.grant.remaining)
    return Grant(
        limit=item.limit_id,
        lease=str(item.lease_id),
        units=item.grant.units,
        start_us=max(0, item.grant.start_us - item.now_us),
        wait_us=item.grant.wait_us,
        left_ms=(item.grant.ends_us - item.now_us) // _MS_US,  # never later than the lease's end
        exact=item.grant.is_exact,
        small=item.grant.is_small,
        remaining=item.grant.remaining,
        unused=unused.units,
        told_ms=unused.told_ms,
        reset_ms=-(-item.grant.reset_us // _MS_US),  # never before more comes free
        retry_ms=_retry_ms(item),
        replicas=item.replicas,
    )


def denial(item: leases.Granted) -> Denial:
    """Build the protocol's entry for a denial."""
    reset_ms = -(-item.grant.reset_us // _MS_US)
    return Denial(
        item.limit_id,
        _retry_ms(item),
        item.grant.remaining,
        reset_ms,
        small=item.grant.is_small,
        replicas=item.replicas,
    )


def _retry_ms(item: leases.Granted) -> int:
    """Return when to ask again: soon if others may give back what they hold, else when enough units come free."""
    reset_ms = -(-item.grant.reset_us // _MS_US)
    return min(_SOON_MS, reset_ms) if item.is_soon else max(reset_ms, -(-item.retry_us // _MS_US))
