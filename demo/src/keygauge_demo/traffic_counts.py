"""The demo's own counts of its live traffic: calls sent, and answers received by the SDKs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

LIMITED = 429
REFUSED = (401, 403)
UNAVAILABLE = 503


@dataclass
class TrafficCounts:
    """Counts of one run. Calls that got no answer are in `sent` but not in `statuses`."""

    sent: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    input_tokens: int = 0  # cached ones included
    output_tokens: int = 0

    @property
    def answered(self) -> int:
        """Calls that got an answer."""
        return self.statuses.total()

    @property
    def limited(self) -> int:
        """Calls refused by a rate or a quota."""
        return self.statuses[LIMITED]

    @property
    def refused(self) -> int:
        """Calls whose key was not accepted."""
        return sum(self.statuses[status] for status in REFUSED)

    @property
    def admitted(self) -> int:
        """Calls that reached the API, including failed ones."""
        return self.answered - self.limited - self.refused - self.statuses[UNAVAILABLE]

    @property
    def failed(self) -> int:
        """Calls that reached the API and got an error."""
        return sum(count for status, count in self.statuses.items() if status >= 400 and status != LIMITED)  # noqa: PLR2004 - the first error

    def record(self, status: int, *, input_tokens: int = 0, output_tokens: int = 0) -> None:
        """Record one answer."""
        self.statuses[status] += 1
        self.input_tokens += input_tokens
        self.output_tokens += output_tokens
