"""Heartbeats whose answers this process will never use: what they granted goes back."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from keygauge.clock import SECOND

_TOLD_NS = 90 * SECOND  # answers may be late, and the key service forgets leases a minute after their end
_MOST = 500  # see docs/reference/protocol.md


@dataclass(slots=True)
class _Range:
    first: int
    last: int
    until_ns: int


class LostAnswers:
    """Numbers of heartbeats, each reported for a while after it was given up."""

    def __init__(self) -> None:
        self._ranges: deque[_Range] = deque(maxlen=_MOST)

    def add(self, number: int, now_ns: int) -> None:
        """Add a heartbeat that was given up; its number is the highest so far."""
        until_ns = now_ns + _TOLD_NS
        if self._ranges and self._ranges[-1].last == number - 1:
            self._ranges[-1].last, self._ranges[-1].until_ns = number, until_ns
        else:
            self._ranges.append(_Range(number, number, until_ns))

    def tell(self, now_ns: int) -> list[dict[str, int]]:
        """Return the ranges that are still to be reported."""
        while self._ranges and self._ranges[0].until_ns <= now_ns:
            self._ranges.popleft()
        return [{"first": one.first, "last": one.last} for one in self._ranges]
