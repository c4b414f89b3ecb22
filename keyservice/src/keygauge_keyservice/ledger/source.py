"""The service that sends a batch, and the checks of what it may report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from keygauge_keyservice.ledger import aside
from keygauge_keyservice.ledger.event import Event, Refusal
from keygauge_keyservice.ledger.plausible import Bounds


@dataclass(frozen=True)
class Source:
    """The service that sends a batch, and its lines; `lines[i]` has the number `first + i` in its spool."""

    service: str
    first: int
    lines: Sequence[bytes]
    bounds: Bounds

    def check(self, entries: Iterable[Event | Refusal], known: AbstractSet[str]) -> list[Event | Refusal]:
        """Replace events by a refusal if the service never looked up their key, or their usage is implausible."""
        own = [
            Refusal.KEY_NOT_LOOKED_UP if isinstance(entry, Event) and entry.key not in known else entry
            for entry in entries
        ]
        return list(self.bounds.check(own))

    def refused(self, number: int, refusal: Refusal, entry: Event | Refusal) -> aside.Refused:
        """Return the record to keep of a refused event."""
        return number, refusal, aside.key_of(entry), self.lines[number - self.first]
