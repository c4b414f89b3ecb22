"""What nobody has used of a limit, beside what this process holds: as it was told, less what others took since."""

from __future__ import annotations

from keygauge.clock import SECOND

_HORIZON_NS = 2 * SECOND  # what others took is compared with what they had taken once or twice so long ago


class Unused:
    """Follows what others take between answers, and goes on at that rate. Guarded by `Admission.lock`."""

    __slots__ = ("_before", "_per_s", "_since", "_told_ns", "_units")

    def __init__(self) -> None:
        self._units = 0
        self._told_ns = 0
        self._before = self._since = (0, 0)  # moment, units that others had taken by then
        self._per_s = 0

    def tell(self, units: int, *, own: int, told_ns: int) -> None:
        """Note what was told of a moment; `own` is what this process holds and has ever spent."""
        self._units, self._told_ns = units, told_ns
        taken = -units - own  # by others, from where the count began
        if not self._since[0]:
            self._before = self._since = (told_ns, taken)
        elif told_ns - self._since[0] >= _HORIZON_NS:
            self._before, self._since = self._since, (told_ns, taken)
        moment_ns, before = self._before
        self._per_s = max(0, taken - before) * SECOND // max(told_ns - moment_ns, SECOND)

    def forget(self) -> None:
        """Note that there is nothing."""
        self._units = 0

    @property
    def told(self) -> int:
        """Return what was told last."""
        return self._units

    def at(self, now_ns: int) -> int:
        """Return what is left by now."""
        return max(0, self._units - self._per_s * max(0, now_ns - self._told_ns) // SECOND)
