"""Strict rate limits: a log of grants, each with the time before which it is spent.

A unit is granted for an interval: it may be spent from `start` until before `end`, and at no other time. It is granted
only if fewer units than the limit's amount were granted before with an end after `start - window`. Then no interval of
the window's length contains more than the limit. Proof: of amount + 1 units spent in one, take the one granted last.
The others were spent at most a window before it, so their ends are after its start minus a window, and it would not
have been granted.

Large limits are leased up to the end of a twentieth of the window, so that a log has about twenty entries. Small limits
and slow callers get single units for immediate use: their ends are close to when they are spent, and get closer when
the replica reports that time. If the report uses a clock that other replicas share, the entry also keeps the end by
that clock, and those replicas get start times by it, so that the delay of messages makes nobody wait.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate, repeat

from keygauge.protocol import ClockReading
from keygauge_keyservice.limits.fair_share import clamp
from keygauge_keyservice.limits.grant import Grant
from keygauge_keyservice.limits.kinds.kind import Columns, Refund, Row, Wish

BUCKETS = 20  # grid points per window on which leases end; more use the limit better, but make leases shorter
PATIENCE_US = 250_000  # a unit for immediate use may be granted this long before it may be spent
_LIFE_US = 500_000  # how long such a unit may take to be spent
_APART_US = 1_000_000  # clocks with equal names that differ by more are not the same, as after copying a VM
_ENTRIES_MAX = 64
_SECOND_US = 1_000_000


@dataclass(frozen=True)
class SlidingWindow:
    """Granted units that still count, by end, soonest first.

    `stamps` are the ends by `clock`, 0 if unknown, and empty if none is known.
    """

    ends: tuple[int, ...] = ()
    cells: tuple[int, ...] = ()
    clock: str = ""
    stamps: tuple[int, ...] = ()

    @classmethod
    def load(cls, row: Row) -> SlidingWindow:
        """Load the log from its row; the row of an empty log also has a cell."""
        if not row["ends"]:
            return cls()
        return cls(tuple(row["ends"]), tuple(row["cells"]), row["clock"], tuple(row["stamps"]))

    def dump(self) -> Columns:
        """Return the columns to store."""
        return Columns(0, self.cells, self.ends, self.clock, self.stamps)

    def now(self, row: Row, *, now_us: int) -> tuple[SlidingWindow, int]:
        """Return the log of what counts now, and when none of it will count any more."""
        return advance(self, now_us=now_us, window_s=row["window_s"]), now_us + row["window_s"] * _SECOND_US

    def give(self, wish: Wish, row: Row) -> Grant[SlidingWindow]:
        """Grant what the limit allows."""
        return grant(
            self,
            now_us=wish.now_us,
            amount=row["amount"],
            window_s=row["window_s"],
            want=wish.wanted.units,
            replicas=wish.replicas,
            waiting=wish.wanted.waiting,
            reading=wish.reading,
            life_us=wish.wanted.life_ms * 1_000,
        )

    def take_back(self, refund: Refund, row: Row, *, now_us: int) -> SlidingWindow:
        """Apply a refund: the unspent units, and when the others were spent."""
        window_s = row["window_s"]
        log = self.refund(refund.unspent, refund.bucket, window_s=window_s) if refund.unspent else self
        if refund.ago_us is None or not refund.spent:
            return log
        spent_us = now_us - refund.ago_us + 2  # both numbers are rounded
        return log.tighten(refund.spent, refund.bucket, spent_us=spent_us, window_s=window_s, reading=refund.reading)

    @property
    def used(self) -> int:
        """Return the units that count now."""
        return sum(self.cells)

    def since(self, us: int) -> SlidingWindow:
        """Return the log without what ended at or before `us`."""
        if not self.ends or self.ends[0] > us:
            return self
        return _log({end: (units, stamp) for end, units, stamp in self._entries() if end > us}, self.clock)

    def add(self, units: int, end: int, *, stamp: int = 0) -> SlidingWindow:
        """Add units with an end."""
        entries = self._by_end()
        if end in entries:
            held, known = entries[end]
            units, stamp = held + units, max(known, stamp) if known and stamp else 0
        return _log(entries | {end: (units, stamp)}, self.clock)

    def take(self, units: int, end: int) -> SlidingWindow:
        """Remove units counted with an end, as far as they exist."""
        entries = self._by_end()
        held, stamp = entries[end]
        return _log(entries | {end: (held - min(units, held), stamp)}, self.clock)

    def coarse(self, width_us: int) -> SlidingWindow:
        """Round every end up to the grid: units count a little longer, never shorter."""
        return _sum((_up(end, width_us), units) for end, units, _ in self._entries())

    def read_by(self, reading: ClockReading | None, now_us: int) -> SlidingWindow:
        """Convert the ends known by a clock to the latest possible times, given an earlier reading of that clock."""
        if not self.stamps:
            return self
        return _sum((self._end(end, stamp, reading, now_us), units) for end, units, stamp in self._entries())

    def waits(self, reading: ClockReading | None, now_us: int, *, start_us: int, window_us: int) -> tuple[int, int]:
        """Return how long to wait until entries leave the window that ends at `start_us`: from now, and by a clock."""
        by_now = by_clock = 0
        for end, _, stamp in self._entries():
            last = self._end(end, stamp, reading, now_us)
            if last + window_us > start_us:
                continue
            if last == end:
                by_now = max(by_now, end + window_us - now_us)
            else:  # counted from the reading, so the message's delay counts as waiting
                by_clock = max(by_clock, last + window_us - now_us)
        return by_now, by_clock

    def find(self, end: int, width_us: int) -> int | None:
        """Return the end with which units granted with an end are counted now."""
        return next((here for here in (end, _up(end, width_us)) if here in self.ends), None)

    def refund(self, units: int, end: int, *, window_s: int) -> SlidingWindow:
        """Take back units granted with an end that will not be spent."""
        here = self.find(end, width_us(window_s))
        return self if here is None else self.take(units, here)

    def tighten(
        self, units: int, end: int, *, spent_us: int, window_s: int, reading: ClockReading | None = None
    ) -> SlidingWindow:
        """Record that units granted with an end were spent before a time: they count until a window after it.

        `reading` is that time by the replica's clock. The ends by any other clock are forgotten.
        """
        here = self.find(end, width_us(window_s))
        if here is None or spent_us >= here:
            return self
        units = min(units, self.cells[self.ends.index(here)])
        log = self.take(units, here)
        if reading is None:
            return log.add(units, spent_us)
        if log.clock != reading.name:
            log = SlidingWindow(log.ends, log.cells, clock=reading.name)
        return log.add(units, spent_us, stamp=reading.us)

    def opens_us(self, amount: int, window_us: int) -> int:
        """Return when a unit can be granted; the log has no room now."""
        excess = self.used - amount + 1
        gone = accumulate(self.cells)
        return next(end for end, units in zip(self.ends, gone, strict=True) if units >= excess) + window_us

    def frees(self, amount: int, window_us: int, now_us: int) -> tuple[tuple[int, int], ...]:
        """Return how many units can be granted in all once each entry has left the window, and how long until then."""
        gone = accumulate(self.cells)
        room = amount - self.used
        return tuple((room + units, end + window_us - now_us) for end, units in zip(self.ends, gone, strict=True))

    def _entries(self) -> Iterator[tuple[int, int, int]]:
        return zip(self.ends, self.cells, self.stamps or repeat(0))  # noqa: B905 - `repeat` is infinite

    def _by_end(self) -> dict[int, tuple[int, int]]:
        return {end: (units, stamp) for end, units, stamp in self._entries()}

    def _end(self, end: int, stamp: int, reading: ClockReading | None, now_us: int) -> int:
        if not stamp or reading is None or reading.name != self.clock:
            return end
        last = stamp + now_us - reading.us
        return last if abs(last - end) < _APART_US else end


def width_us(window_s: int) -> int:
    """Return the grid's width."""
    return window_s * (_SECOND_US // BUCKETS)


def is_small(amount: int, replicas: int) -> bool:
    """Return whether there are too few units to lease: fewer than one per grid point, or four per replica."""
    return amount < max(BUCKETS, 4 * replicas)


def advance(log: SlidingWindow, *, now_us: int, window_s: int) -> SlidingWindow:
    """Drop entries that no window that ends now or later can contain."""
    return log.since(now_us - window_s * _SECOND_US)


def grant(
    log: SlidingWindow,
    *,
    now_us: int,
    amount: int,
    window_s: int,
    want: int,
    replicas: int = 1,
    waiting: int = 1,
    reading: ClockReading | None = None,
    life_us: int = 0,
) -> Grant[SlidingWindow]:
    """Grant up to the units wanted if the limit allows, and return when more comes free.

    `reading` is the replica's clock at its request. Units live for at least `life_us`; if that is set, the replica
    reports when they were spent.
    """
    window_us, width = window_s * _SECOND_US, width_us(window_s)
    log = advance(log, now_us=now_us, window_s=window_s)
    seen = advance(log.read_by(reading, now_us), now_us=now_us, window_s=window_s)
    small = is_small(amount, replicas)
    exact = small or waiting >= want  # everything is for immediate use
    start_us = now_us
    if exact and 0 < amount <= seen.used:
        start_us = seen.opens_us(amount, window_us)
    if seen.used >= amount and not now_us < start_us <= now_us + PATIENCE_US:
        wait_us = seen.opens_us(amount, window_us) - now_us if amount else window_us
        frees = seen.frees(amount, window_us, now_us)
        return Grant(log, 0, 0, now_us, max(1, wait_us), is_small=small, frees=frees)
    room = amount - seen.since(start_us - window_us).used
    units = min(want, room) if exact else clamp(want, remaining=room, replicas=replicas, waiting=waiting)
    shortest_us = min(_LIFE_US, window_us // 4) if exact else width // 4
    end_us = start_us + max(life_us, shortest_us)
    if not exact:
        end_us = _up(end_us, width)
    by_now, by_clock = log.waits(reading, now_us, start_us=start_us, window_us=window_us)
    log, seen = log.add(units, end_us), seen.add(units, end_us)
    if len(log.ends) > _ENTRIES_MAX:
        log = log.coarse(width)
    next_us = seen.opens_us(amount, window_us) if seen.used >= amount else seen.ends[0] + window_us
    return Grant(
        log,
        units,
        max(0, amount - seen.used),
        end_us,
        next_us - now_us,
        bucket=end_us,
        start_us=now_us + by_now,
        wait_us=by_clock,
        is_exact=exact or life_us > 0,
        is_small=small,
        frees=seen.frees(amount, window_us, now_us) if units < waiting else (),
    )


def _sum(entries: Iterable[tuple[int, int]]) -> SlidingWindow:
    """Return a log of units by end, without a clock."""
    summed: dict[int, tuple[int, int]] = {}
    for end, units in entries:
        summed[end] = (summed.get(end, (0, 0))[0] + units, 0)
    return _log(summed)


def _log(entries: Mapping[int, tuple[int, int]], clock: str = "") -> SlidingWindow:
    kept = [(end, *entries[end]) for end in sorted(entries) if entries[end][0]]
    ends, cells, stamps = (tuple(column) for column in zip(*kept, strict=True)) if kept else ((), (), ())
    return SlidingWindow(ends, cells, clock=clock, stamps=stamps) if any(stamps) else SlidingWindow(ends, cells)


def _up(us: int, width: int) -> int:
    """Return the first grid point that is not before a time."""
    return -(-us // width) * width
