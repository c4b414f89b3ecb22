"""One beat of one replica: note it, tell it what changed, find keys, take leases back and give leases out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keygauge_keyservice.database import Connection
from keygauge_keyservice.heartbeat_message import HeartbeatMessage, Prices
from keygauge_keyservice.journal import change_feed
from keygauge_keyservice.limits import leases, replicas
from keygauge_keyservice.limits.kinds import concurrency
from keygauge_keyservice.limits.replicas import T_MAX_MS
from keygauge_keyservice.pricing import price_steps
from keygauge_keyservice.pricing.price_book import PriceBook
from keygauge_keyservice.secret import Peppers
from keygauge_keyservice.sync import key_entries

_MS_US = 1_000


def answer(connection: Connection, message: HeartbeatMessage, *, peppers: Peppers, prices: PriceBook) -> dict[str, Any]:
    """Apply a beat in the caller's transaction and return the protocol's answer."""
    alive = replicas.see(connection, message)
    # Before the entries, so that those are at least as new.
    changes = change_feed.read(connection, message.cursor, epoch=message.epoch)
    found = key_entries.look_up(connection, message.look_ups, peppers) if message.look_ups else []
    keys = key_entries.load(connection, list({*changes.key_ids, *(item.key_id for item in found)}))
    told = _prices(connection, message.prices, prices) if message.prices else None  # before rows of limits are locked
    traded = leases.exchange(
        connection,
        replica=message.replica,
        returns=message.returns,
        acquisitions=message.acquisitions,
        holds=message.holds,
        reading=message.reading,
        replicas=alive,
    )
    known = {item.digest for item in found}
    return {
        "cursor": changes.cursor,
        "epoch": changes.epoch,
        "more": changes.more,
        "afresh": changes.afresh,
        "t_max_ms": T_MAX_MS,
        "replicas": alive,
        "found": [{"digest": item.digest.hex(), "key": item.key_id, "secret": item.number} for item in found],
        "unknown": [wanted.digest.hex() for wanted in message.look_ups if wanted.digest not in known],
        "keys": keys,
        "prices": told,
        **trade(traded.granted, traded.kept),
    }


def _prices(connection: Connection, asked: Prices, book: PriceBook) -> dict[str, Any]:
    book.refresh(connection)
    state = book.state  # before the rates, so that those are at least as new
    return {"state": state, "rates": price_steps.answer(book, asked.wanted)}


def trade(granted: Sequence[leases.Granted], kept: Sequence[concurrency.Kept] = ()) -> dict[str, list[dict[str, Any]]]:
    """Write what is granted, denied and kept."""
    return {
        "held": [{"lease": item.lease_id, "left_ms": T_MAX_MS, "small": item.is_scarce} for item in kept],
        "grants": [_grant(item) for item in granted if item.lease_id is not None],
        "denials": [_denial(item) for item in granted if item.lease_id is None],
    }


def _grant(item: leases.Granted) -> dict[str, Any]:
    start_us = max(0, item.grant.start_us - item.now_us)
    return {
        "limit": item.limit_id,
        "lease": str(item.lease_id),
        "units": item.grant.units,
        "start_us": start_us,
        "wait_us": item.grant.wait_us,
        "left_ms": (item.grant.ends_us - item.now_us) // _MS_US,  # never later than the lease ends
        "exact": item.grant.is_exact,
        "small": item.grant.is_small,
        "remaining": item.grant.remaining,
        "reset_ms": -(-item.grant.reset_us // _MS_US),  # never sooner than more comes free
    }


def _denial(item: leases.Granted) -> dict[str, Any]:
    wait_ms = -(-item.grant.reset_us // _MS_US)
    return {
        "limit": item.limit_id,
        "retry_ms": wait_ms,
        "remaining": item.grant.remaining,
        "reset_ms": wait_ms,
        "small": item.grant.is_small,
    }
