"""How fast units of a limit are taken, over a fixed horizon."""

from __future__ import annotations

from keygauge.clock import SECOND

HORIZON_NS = SECOND


class SpendRate:
    """Compares a count with what it was one to two horizons ago, or at the last look where that is longer ago."""

    __slots__ = ("_before", "_since")

    def __init__(self) -> None:
        self._before = self._since = (0, 0)  # moment, count

    def look(self, count: int, now_ns: int) -> None:
        """Note what the count is now; looks closer to each other than the horizon are left out."""
        if now_ns - self._since[0] >= HORIZON_NS:
            self._before, self._since = self._since, (now_ns, count)

    def per_s(self, count: int, now_ns: int) -> float:
        """Return how fast the count rose; 0 where it fell."""
        moment_ns, before = self._before
        return max(0, count - before) * SECOND / max(now_ns - moment_ns, HORIZON_NS)
