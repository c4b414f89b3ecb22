"""One heartbeat of one replica: note it, tell it what changed, find keys, take leases back and give leases out."""

from __future__ import annotations

from msgspec.structs import replace

from keygauge import protocol
from keygauge.protocol import Denial, Grant, HeartbeatAnswer, Held
from keygauge_keyservice.database import Connection
from keygauge_keyservice.journal import change_feed
from keygauge_keyservice.limits import leases, replicas
from keygauge_keyservice.limits.kinds import concurrency
from keygauge_keyservice.limits.replicas import T_MAX_MS
from keygauge_keyservice.pricing import price_steps
from keygauge_keyservice.pricing.price_book import PriceBook
from keygauge_keyservice.secret import Peppers
from keygauge_keyservice.sync import key_entries, told_keys

_MS_US = 1_000
_SOON_MS = 1_000


def answer(
    connection: Connection, message: protocol.Heartbeat, *, service: str | None, peppers: Peppers, prices: PriceBook
) -> HeartbeatAnswer:
    """Apply a heartbeat in the caller's transaction and return the protocol's answer.

    A `service` hears of keys that it was told of only; None: whoever calls from within hears of all.
    """
    alive = replicas.see(connection, message)
    # Before the entries, so that those are at least as new.
    changes = change_feed.read(connection, message.cursor, epoch=message.epoch)
    found = key_entries.look_up(connection, message.look_up, peppers) if message.look_up else []
    if found:
        told_keys.tell(connection, service, {item.key for item in found})
    changed = told_keys.of(connection, service, changes.key_ids) if changes.key_ids else []
    keys = key_entries.load(connection, list({*changed, *(item.key for item in found)}))
    # Before rows of limits are locked.
    told = _prices(connection, message.prices, prices, service) if message.prices else None
    leased = leases.exchange(
        connection,
        service=service,
        replica=message.replica,
        returns=message.returns,
        acquisitions=message.acquire,
        holds=message.hold,
        progress=message.progress,
        reading=message.clock,
        replicas=alive,
    )
    known = {item.digest for item in found}
    return HeartbeatAnswer(
        cursor=changes.cursor,
        epoch=changes.epoch,
        more=changes.more,
        afresh=changes.afresh,
        t_max_ms=T_MAX_MS,
        replicas=alive,
        found=found,
        unknown=[wanted.digest for wanted in message.look_up if wanted.digest not in known],
        keys=keys,
        prices=told,
        held=[held(item) for item in leased.kept],
        grants=[grant(item) for item in leased.granted if item.lease_id is not None],
        denials=[denial(item) for item in leased.granted if item.lease_id is None],
        wanted=list(leased.wanted),
    )


def _prices(
    connection: Connection, asked: protocol.PricesWanted, book: PriceBook, service: str | None
) -> protocol.Prices:
    book.refresh(connection)
    state = book.state  # before the rates, so that those are at least as new
    tariffs = {name.tariff for name in asked.want if name.tariff is not None}
    own = told_keys.accounts_of(connection, service, tariffs) if tariffs else set()
    want = [name if name.tariff in own else replace(name, tariff=None) for name in asked.want]
    return protocol.Prices(state, price_steps.answer(book, want))


def held(item: concurrency.Kept) -> Held:
    """Write a lease that goes on."""
    return Held(item.lease_id, T_MAX_MS, small=item.is_scarce)


def grant(item: leases.Granted) -> Grant:
    """Write what is granted."""
    return Grant(
        limit=item.limit_id,
        lease=str(item.lease_id),
        units=item.grant.units,
        start_us=max(0, item.grant.start_us - item.now_us),
        wait_us=item.grant.wait_us,
        left_ms=(item.grant.ends_us - item.now_us) // _MS_US,  # never later than the lease ends
        exact=item.grant.is_exact,
        small=item.grant.is_small,
        remaining=item.grant.remaining,
        reset_ms=-(-item.grant.reset_us // _MS_US),  # never sooner than more comes free
        retry_ms=_retry_ms(item),
        replicas=item.replicas,
    )


def denial(item: leases.Granted) -> Denial:
    """Write what is denied."""
    reset_ms = -(-item.grant.reset_us // _MS_US)
    return Denial(item.limit_id, _retry_ms(item), item.grant.remaining, reset_ms, small=item.grant.is_small)


def _retry_ms(item: leases.Granted) -> int:
    """Tell when to ask again: soon, as long as others may give back what they hold."""
    reset_ms = -(-item.grant.reset_us // _MS_US)
    return min(_SOON_MS, reset_ms) if item.is_soon else reset_ms
