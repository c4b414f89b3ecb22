"""What nobody has used of a limit, beside what this process holds: as it was told, less what others took since."""

from __future__ import annotations

from keygauge.clock import SECOND

_FRESH_NS = SECOND // 2  # what was told so lately is not asked for; nor does it show that others have stopped
_HORIZON_NS = 2 * SECOND  # what others took is compared with what they had taken once or twice so long ago


class Unused:
    """Follows what others take between answers, and goes on at that rate. Guarded by `Admission.lock`."""

    __slots__ = ("_before", "_per_s", "_since", "_taken", "_told_ns", "_units")

    def __init__(self) -> None:
        self._units = 0
        self._told_ns = 0
        self._before = self._since = (0, 0)  # moment, units that others had taken by then
        self._taken = 0  # … when it was told last
        self._per_s = 0

    def tell(self, units: int, *, own: int, told_ns: int) -> None:
        """Note what was told of a moment; `own` is what this process holds and has ever spent."""
        later_ns, self._told_ns, self._units = told_ns - self._told_ns, told_ns, units
        taken = -units - own  # by others, from where the count began
        risen, self._taken = taken - self._taken, taken
        if not self._since[0]:
            self._before = self._since = (told_ns, taken)
        elif told_ns - self._since[0] >= _HORIZON_NS:
            self._before, self._since = self._since, (told_ns, taken)
        moment_ns, before = self._before
        self._per_s = max(0, taken - before) * SECOND // max(told_ns - moment_ns, SECOND)
        if risen <= 0 and later_ns >= _FRESH_NS:  # they have stopped
            self._per_s = 0

    def forget(self) -> None:
        """Note that there is nothing."""
        self._units = 0

    def is_guess(self, now_ns: int) -> bool:
        """Return whether what others take is guessed: they did when it was told, which is a while ago."""
        return self._per_s > 0 and now_ns - self._told_ns >= _FRESH_NS

    @property
    def latest(self) -> int:
        """Return what was told last."""
        return self._units

    def at(self, now_ns: int) -> int:
        """Return what is left by now."""
        return max(0, self._units - self._per_s * max(0, now_ns - self._told_ns) // SECOND)
