"""Selection of the names with series of their own: if there are too many, busy names periodically replace idle ones.

Names without a place are only counted, in a sketch of bounded size (Misra and Gries, 1982). It never overestimates a
name, and it contains every name that makes up more than one in `MOST_CONTENDERS` of these calls. A million names used
once each therefore replace none.
"""

from __future__ import annotations

from collections.abc import Mapping

MOST_CONTENDERS = 256
MOST_SWAPS = 20  # per turn and label: each new name adds series to the metrics backend
IDLE_TURNS = 60  # a name unused for this many turns can be replaced by any name used `_REPEATED` times
_ENOUGH_USES = 10  # per turn, to replace a name that is not idle
_REPEATED = 3
_CLEARLY_MORE = 2  # times the uses, so that two similar names do not alternate

Swap = tuple[str, str]  # (the replaced name, its replacement)


class HeavyHitters:
    """The names of one label that have no place, with their uses since the last turn."""

    def __init__(self) -> None:
        self._uses: dict[str, int] = {}
        self._idle: dict[str, int] = {}  # turns since a kept name was last used; absent if used in the last turn

    def add(self, name: str) -> None:
        """Count a use of a name that has no place."""
        uses = self._uses
        if name in uses:
            uses[name] += 1
        elif len(uses) < MOST_CONTENDERS:
            uses[name] = 1
        else:
            self._uses = {kept: count - 1 for kept, count in uses.items() if count > 1}

    def turn(self, kept: Mapping[str, int]) -> list[Swap]:
        """End a turn and return the swaps to make; `kept` has the uses of each name that has a place."""
        uses, self._uses = self._uses, {}
        self._idle = {name: self._idle.get(name, 0) + 1 for name, count in kept.items() if not count}
        leaving = sorted(kept, key=lambda name: (kept[name], -self._idle.get(name, 0)))
        coming = sorted(uses, key=lambda name: -uses[name])
        swaps = []
        for out, name in zip(leaving[:MOST_SWAPS], coming, strict=False):
            enough = _REPEATED if self._idle.get(out, 0) >= IDLE_TURNS else _ENOUGH_USES
            if uses[name] < enough or uses[name] <= _CLEARLY_MORE * kept[out]:
                break
            swaps.append((out, name))
        return swaps
