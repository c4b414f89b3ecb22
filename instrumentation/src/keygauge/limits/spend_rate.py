"""The rate at which units of a limit are taken, over a fixed horizon."""

from __future__ import annotations

from keygauge.clock import SECOND

HORIZON_NS = SECOND


class SpendRate:
    """Compares a count with its value one to two horizons ago, or at the last look if that is longer ago."""

    __slots__ = ("_before", "_since")

    def __init__(self) -> None:
        self._before = self._since = (0, 0)  # time, count

    def look(self, count: int, now_ns: int) -> None:
        """Record the current count; looks less than a horizon apart are ignored."""
        if now_ns - self._since[0] >= HORIZON_NS:
            self._before, self._since = self._since, (now_ns, count)

    def per_s(self, count: int, now_ns: int) -> float:
        """Return the increase of the count per second; 0 if it fell."""
        moment_ns, before = self._before
        return max(0, count - before) * SECOND / max(now_ns - moment_ns, HORIZON_NS)
