"""Which names have their own series when there are more names than places: busy ones periodically replace idle ones.

A name that came too late is only counted, in a sketch of bounded size (Misra and Gries, 1982): what it tells of a name
is never more than the truth, and a name that makes up more than one in `MOST_CONTENDERS` of the late calls is in it. So
a million names that come once each displace nobody.
"""

from __future__ import annotations

from collections.abc import Mapping

MOST_CONTENDERS = 256
MOST_SWAPS = 20  # a turn, of one label: each new name is new series in whatever stores them
IDLE_TURNS = 60  # a name that was not used for so many gives way to any that is used again and again
_ENOUGH_USES = 10  # in a turn, to displace one that is used
_REPEATED = 3
_CLEARLY_MORE = 2  # times the use, lest two alike take turns

Swap = tuple[str, str]  # (the name that goes, the name that comes)


class HeavyHitters:
    """The names of one label that came too late, with how often since the last turn."""

    def __init__(self) -> None:
        self._uses: dict[str, int] = {}
        self._idle: dict[str, int] = {}  # turns since a kept name was last used; none: it was used in the last

    def add(self, name: str) -> None:
        """Count one use of a name that has no place."""
        uses = self._uses
        if name in uses:
            uses[name] += 1
        elif len(uses) < MOST_CONTENDERS:
            uses[name] = 1
        else:
            self._uses = {kept: count - 1 for kept, count in uses.items() if count > 1}

    def turn(self, kept: Mapping[str, int]) -> list[Swap]:
        """End a turn: choose who goes and who comes, given how often each name that has a place was used."""
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
