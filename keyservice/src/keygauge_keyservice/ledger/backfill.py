"""Load events that happened elsewhere or before: in large batches, through the same door as a replica's."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from keygauge_keyservice.database import Connection
from keygauge_keyservice.ledger import ingest
from keygauge_keyservice.ledger.event import Event
from keygauge_keyservice.pricing.cost import Price

_BATCH = 10_000


def write_history(connection: Connection, events: Iterable[Event], price: Price, *, spool: str) -> int:
    """Take events that are already checked and return how many were new.

    The spool's id names the history, and an event's place in it is its number: the same history again, or what an
    interrupted load left over, adds only what is missing. An id that is not hexadecimal is no replica's.
    """
    remaining = iter(events)
    first = new = 0
    while batch := list(islice(remaining, _BATCH)):
        receipt = ingest.take_events(connection, spool, first, batch, price)
        new += receipt.accepted
        first += len(batch)
    return new
