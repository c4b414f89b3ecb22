"""How much usage is plausible: what is beyond waits for an operator's word, since bills rest on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from keygauge_keyservice.ledger.event import Event, Refusal


@dataclass(frozen=True)
class Bounds:
    """The most that an event, and all events of a batch, may say that was used: tokens, or units of one kind."""

    event: int = 20_000_000  # twice the longest context that a model has

    @property
    def batch(self) -> int:
        """As much as a hundred of the largest events: 5,000 calls with contexts of 400,000 tokens."""
        return 100 * self.event

    def check(self, entries: Sequence[Event | Refusal]) -> Iterator[Event | Refusal]:
        """Replace the events that are beyond a bound by why they are not taken."""
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
    """Return the tokens of a call, or where that is more, of parts of them or units of any kind."""
    tokens = (event.input_tokens or 0) + (event.output_tokens or 0)
    parts = (event.cache_read_tokens or 0, event.cache_write_tokens or 0, event.reasoning_tokens or 0)
    return max(tokens, *parts, *(event.details or {}).values())
