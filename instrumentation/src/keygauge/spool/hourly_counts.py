"""One process's counts by hour of arrival, reported to the key service for comparison with the ledger."""

from __future__ import annotations

from collections import deque
from threading import Lock
from typing import TypeAlias

from keygauge.call import PART, Call

_HOUR_S = 3_600
_HOUR_NS = _HOUR_S * 1_000_000_000
_MOST_HOURS = 1_000  # six weeks: no stream stays open longer
_MOST_WAITING = 4_096  # calls not yet counted, a few seconds of one busy process; each keeps its call in memory
_REPORTED_MAX = 500  # hours per report, see docs/reference/protocol.md

Sums: TypeAlias = tuple[int, int, int]
"""Requests, input tokens, output tokens."""


class HourlyCounts:
    """Counts of calls by hour, made off the request path: `add` only queues a call."""

    def __init__(self) -> None:
        self._waiting: deque[Call] = deque()
        self._hours: dict[int, Sums] = {}
        self._reported: dict[int, Sums] = {}
        self._lock = Lock()

    def add(self, call: Call) -> None:
        """Queue a finished call that has an account; call this after its event was written or dropped."""
        self._waiting.append(call)
        if len(self._waiting) >= _MOST_WAITING:
            self.count_waiting()

    def count_waiting(self) -> None:
        """Count the queued calls."""
        with self._lock:
            for _ in range(len(self._waiting)):
                call = self._waiting.popleft()
                usage, requests = call.usage, int(call.outcome != PART)
                given, made = (usage.input_tokens or 0, usage.output_tokens or 0) if usage is not None else (0, 0)
                self._count(call.time_ns, given, made, requests=requests)

    def count(self, time_ns: int, input_tokens: int, output_tokens: int) -> None:
        """Count one call by its arrival time."""
        with self._lock:
            self._count(time_ns, input_tokens, output_tokens)

    def changed(self) -> dict[int, Sums]:
        """Return the sums not reported yet, by hour (unix seconds), oldest first."""
        self.count_waiting()
        with self._lock:
            changed = sorted(hour for hour, sums in self._hours.items() if self._reported.get(hour) != sums)
            return {hour: self._hours[hour] for hour in changed[:_REPORTED_MAX]}

    def mark_reported(self, hours: dict[int, Sums]) -> None:
        """Record that the key service has these sums."""
        with self._lock:
            self._reported.update((hour, sums) for hour, sums in hours.items() if hour in self._hours)

    def forget_reported(self) -> None:
        """Assume that the key service has no sums."""
        with self._lock:
            self._reported.clear()

    def _count(self, time_ns: int, input_tokens: int, output_tokens: int, *, requests: int = 1) -> None:
        hour = time_ns // _HOUR_NS * _HOUR_S
        before, given, made = self._hours.get(hour, (0, 0, 0))
        self._hours[hour] = (before + requests, given + input_tokens, made + output_tokens)
        if len(self._hours) > _MOST_HOURS:
            oldest = min(self._hours)
            del self._hours[oldest]
            self._reported.pop(oldest, None)
