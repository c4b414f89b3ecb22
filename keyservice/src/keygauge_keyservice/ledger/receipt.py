"""The receipt for a batch of events."""

from __future__ import annotations

from dataclasses import dataclass

from keygauge_keyservice.ledger.event import Refusal


@dataclass(frozen=True)
class Receipt:
    """The result of ingesting a batch: all events with numbers below `next` are done."""

    next: int
    accepted: int
    refused: tuple[tuple[int, Refusal], ...]  # number in the spool and reason
    duplicates: int  # lines below the cursor, ingested before
    missing: int  # numbers between the cursor and the first line, dropped by the sender
    newest_us: int | None  # time of the newest event ingested

    def plus(self, later: Receipt) -> Receipt:
        """Return the combined receipt of this batch and the following one."""
        return Receipt(
            later.next,
            self.accepted + later.accepted,
            self.refused + later.refused,
            self.duplicates + later.duplicates,
            self.missing + later.missing,
            max((one.newest_us for one in (self, later) if one.newest_us is not None), default=None),
        )
