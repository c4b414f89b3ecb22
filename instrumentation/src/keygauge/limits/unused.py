"""The unused units of a limit, except those that this process holds, as last reported minus what others took since."""

from __future__ import annotations

from keygauge.clock import SECOND

_FRESH_NS = SECOND // 2  # so recent a report needs no update; one so soon after another does not show a stop
_HORIZON_NS = 2 * SECOND  # what others took is compared with their count one or two horizons ago


class Unused:
    """Estimates what others have taken since the last answer, at their last rate. Guarded by `Admission.lock`."""

    __slots__ = ("_before", "_per_s", "_since", "_taken", "_units", "told_ns")

    def __init__(self) -> None:
        self._units = 0
        self.told_ns = 0  # the time of the last report
        self._before = self._since = (0, 0)  # time, units that others had taken by then
        self._taken = 0  # … at the last report
        self._per_s = 0

    def tell(self, units: int, *, own: int, told_ns: int) -> None:
        """Record the units unused at `told_ns`; `own` is what this process holds and has ever spent."""
        later_ns, self.told_ns, self._units = told_ns - self.told_ns, told_ns, units
        taken = -units - own  # by others, up to a constant
        risen, self._taken = taken - self._taken, taken
        if not self._since[0]:
            self._before = self._since = (told_ns, taken)
        elif told_ns - self._since[0] >= _HORIZON_NS:
            self._before, self._since = self._since, (told_ns, taken)
        moment_ns, before = self._before
        self._per_s = max(0, taken - before) * SECOND // max(told_ns - moment_ns, SECOND)
        if risen <= 0 and later_ns >= _FRESH_NS:  # others have stopped
            self._per_s = 0

    def forget(self) -> None:
        """Record that nothing is left."""
        self._units = 0

    def is_guess(self, now_ns: int) -> bool:
        """Return whether `at` includes an estimate: others took units, and the last report is not recent."""
        return self._per_s > 0 and now_ns - self.told_ns >= _FRESH_NS

    def is_old(self, now_ns: int) -> bool:
        """Return whether others, even new ones, may have taken units since the last report."""
        return now_ns - self.told_ns >= SECOND

    def at(self, now_ns: int) -> int:
        """Return an estimate of what is left at `now_ns`."""
        return max(0, self._units - self._per_s * max(0, now_ns - self.told_ns) // SECOND)
