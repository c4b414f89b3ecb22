"""Plausibility bounds for usage: events beyond them are set aside for an operator to review, since usage is billed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from keygauge_keyservice.ledger.event import Event, Refusal


@dataclass(frozen=True)
class Bounds:
    """The maximum usage of an event, and of all events of a batch: tokens, or units of one kind."""

    event: int = 20_000_000  # twice the longest context of any model

    @property
    def batch(self) -> int:
        """The maximum per batch: a hundred of the largest events, or 5,000 calls of 400,000 tokens."""
        return 100 * self.event

    def check(self, entries: Sequence[Event | Refusal]) -> Iterator[Event | Refusal]:
        """Yield the entries, with the events that exceed a bound replaced by the reason for the refusal."""
        left = self.batch
        for entry in entries:
            if not isinstance(entry, Event):
                yield entry
                continue
            used = _used(entry)
            if used > self.event:
                yield Refusal.IMPLAUSIBLE_EVENT
            elif used > left:
                yield Refusal.IMPLAUSIBLE_BATCH
            else:
                left -= used
                yield entry


def _used(event: Event) -> int:
    """Return the largest count of an event: its tokens, a part of its tokens, or the units of a kind."""
    tokens = (event.input_tokens or 0) + (event.output_tokens or 0)
    parts = (event.cache_read_tokens or 0, event.cache_write_tokens or 0, event.reasoning_tokens or 0)
    return max(tokens, *parts, *(event.details or {}).values())
