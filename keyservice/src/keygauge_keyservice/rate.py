"""The strict rate: a log of what was given, each entry with the moment before which it is spent.

A unit is given for an interval: it may be spent from `start` on and before `end`, and no sooner or later. It is given
only when less than the limit's amount was given before with an end after `start - window`. Then no real interval of
the window's length sees more than the limit: of amount + 1 units spent in one, take the one given last; the others were
spent at most a window before it, so they end after its start less a window, and it would not have been given.

Large limits are leased: to the end of a twentieth of the window, so that a log has some twenty entries. Small limits,
and callers that are slow, get single units for use at once: their ends are close to when they are spent, and get closer
when the replica reports when that was.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

from keygauge_keyservice.counter import Grant
from keygauge_keyservice.lease_size import clamp

BUCKETS = 20  # leases end on a grid of so many points a window; more use the limit better, and end leases sooner
PATIENCE_US = 250_000  # a unit for use at once may be given so long before it may be spent
_LIFE_US = 500_000  # how long such a unit may be under way
_ENTRIES_MAX = 64
_SECOND_US = 1_000_000


@dataclass(frozen=True)
class Log:
    """Units given and still counting, by end, soonest first."""

    ends: tuple[int, ...] = ()
    cells: tuple[int, ...] = ()
    head: int = 0  # of budgets only

    @property
    def used(self) -> int:
        """Return the units that count now."""
        return sum(self.cells)

    def since(self, us: int) -> Log:
        """Leave out what ended by a moment."""
        kept = [(end, units) for end, units in zip(self.ends, self.cells, strict=True) if end > us and units]
        return Log(tuple(end for end, _ in kept), tuple(units for _, units in kept))

    def add(self, units: int, end: int) -> Log:
        """Add units, or take away where they are negative, under an end."""
        entries = dict(zip(self.ends, self.cells, strict=True))
        entries[end] = entries.get(end, 0) + units
        return _log(entries)

    def coarse(self, width_us: int) -> Log:
        """Move every end up to the grid: each unit counts a little longer, never shorter."""
        entries: dict[int, int] = {}
        for end, units in zip(self.ends, self.cells, strict=True):
            entries[_up(end, width_us)] = entries.get(_up(end, width_us), 0) + units
        return _log(entries)

    def find(self, end: int, width_us: int) -> int | None:
        """Return the end under which the units given with an end are counted now."""
        return next((here for here in (end, _up(end, width_us)) if here in self.ends), None)

    def refund(self, units: int, end: int, *, window_s: int) -> Log:
        """Take units back that were given with an end and will not be spent."""
        here = self.find(end, width_us(window_s))
        if here is None:
            return self
        return self.add(-min(units, self.cells[self.ends.index(here)]), here)

    def tighten(self, units: int, end: int, *, spent_us: int, window_s: int) -> Log:
        """Note that units given with an end were spent before a moment: they count until a window after that."""
        here = self.find(end, width_us(window_s))
        if here is None or spent_us >= here:
            return self
        units = min(units, self.cells[self.ends.index(here)])
        return self.add(-units, here).add(units, spent_us)

    def opens_us(self, amount: int, window_us: int) -> int:
        """Return when a unit can be given, of a log that has no room now."""
        excess = self.used - amount + 1
        gone = accumulate(self.cells)
        return next(end for end, units in zip(self.ends, gone, strict=True) if units >= excess) + window_us


def width_us(window_s: int) -> int:
    """Return the grid's width."""
    return window_s * (_SECOND_US // BUCKETS)


def is_small(amount: int, replicas: int) -> bool:
    """Tell whether there are too few units to lease: less than one for each point of the grid, or four per replica."""
    return amount < max(BUCKETS, 4 * replicas)


def advance(log: Log, *, now_us: int, window_s: int) -> Log:
    """Leave out what no window that ends now or later can see."""
    return log.since(now_us - window_s * _SECOND_US)


def grant(
    log: Log, *, now_us: int, amount: int, window_s: int, want: int, replicas: int = 1, waiting: int = 1
) -> Grant[Log]:
    """Give what the limit allows of the units wanted, and say when more comes free."""
    window_us, width = window_s * _SECOND_US, width_us(window_s)
    log = advance(log, now_us=now_us, window_s=window_s)
    small = is_small(amount, replicas)
    exact = small or waiting >= want  # all is for use at once
    start_us = now_us
    if exact and 0 < amount <= log.used:
        start_us = log.opens_us(amount, window_us)
    if log.used >= amount and not now_us < start_us <= now_us + PATIENCE_US:
        wait_us = log.opens_us(amount, window_us) - now_us if amount else window_us
        return Grant(log, 0, 0, now_us, max(1, wait_us), is_small=small)
    room = amount - log.since(start_us - window_us).used
    units = min(want, room) if exact else clamp(want, remaining=room, replicas=replicas, waiting=waiting)
    end_us = start_us + min(_LIFE_US, window_us // 4) if exact else _up(now_us + width // 4, width)
    log = log.add(units, end_us)
    if len(log.ends) > _ENTRIES_MAX:
        log = log.coarse(width)
    next_us = log.opens_us(amount, window_us) if log.used >= amount else log.ends[0] + window_us
    return Grant(
        log,
        units,
        max(0, amount - log.used),
        end_us,
        next_us - now_us,
        start_us=start_us,
        is_exact=exact,
        is_small=small,
    )


def _log(entries: dict[int, int]) -> Log:
    ends = sorted(end for end, units in entries.items() if units)
    return Log(tuple(ends), tuple(entries[end] for end in ends))


def _up(us: int, width: int) -> int:
    """Return the first point of the grid that is not before a moment."""
    return -(-us // width) * width
