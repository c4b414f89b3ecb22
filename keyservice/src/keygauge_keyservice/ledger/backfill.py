"""Backfill of historical events, in large batches and with the same ingestion code as for replicas."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from keygauge_keyservice.database import Connection
from keygauge_keyservice.ledger import ingest
from keygauge_keyservice.ledger.event import Event
from keygauge_keyservice.pricing.cost import Price

_BATCH = 10_000


def write_history(connection: Connection, events: Iterable[Event], price: Price, *, spool: str) -> int:
    """Ingest events that are already validated, and return how many were new.

    The spool's id identifies the history, and an event's position in it is its number, so loading the same history
    again, or resuming an interrupted load, adds only what is missing. Use an id that is not hexadecimal, to avoid
    collisions with replicas. The connection has no statement timeout afterwards.
    """
    with connection.transaction():
        connection.execute("/* backfill.prepare */ SET statement_timeout = 0")
    remaining = iter(events)
    first = new = 0
    while batch := list(islice(remaining, _BATCH)):
        receipt = ingest.take_events(connection, spool, first, batch, price)
        new += receipt.accepted
        first += len(batch)
    return new
