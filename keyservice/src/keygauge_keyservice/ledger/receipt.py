"""What became of a batch of events."""

from __future__ import annotations

from dataclasses import dataclass

from keygauge_keyservice.ledger.event import Refusal


@dataclass(frozen=True)
class Receipt:
    """What became of a batch: everything below `next` is settled."""

    next: int
    accepted: int
    refused: tuple[tuple[int, Refusal], ...]  # number in the spool, why
    duplicates: int  # lines below the cursor: taken before
    missing: int  # numbers between the cursor and the first line: dropped by the sender
    newest_us: int | None  # time of the newest event taken

    def plus(self, later: Receipt) -> Receipt:
        """Return what became of this batch and the one after it."""
        return Receipt(
            later.next,
            self.accepted + later.accepted,
            self.refused + later.refused,
            self.duplicates + later.duplicates,
            self.missing + later.missing,
            max((one.newest_us for one in (self, later) if one.newest_us is not None), default=None),
        )
