"""In-memory counters of all calls: each call counts once, totals are exact, and cardinality is bounded for any input.

A finished call only joins a queue; it is counted off the request path, by `drain()` or when the counts are read. Each
distinct combination of labels has one `Counters`. Labels fold on a first-come basis: the first `max_keys` keys have
series of their own, later ones are counted under the key "other"; likewise routes, models and other labels. When no
more combinations fit, new ones are counted in the few series of `labels.rest`. A folded call is never moved, so
counters never decrease; `folded()` returns how many calls lost a label.

At each `turn()`, busy keys, routes and models replace idle ones (`heavy_hitters`). The series of a replaced name keep
their values and resume when the name returns, so neither a series nor a sum over series ever decreases. The bound
covers all series that ever existed; part of it is reserved for names that replace others.

`drain()` also records histogram observations and costs.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from threading import Condition, Lock
from typing import get_args

from keygauge.call import PART, Call, StreamKind
from keygauge.telemetry.counters import Counters
from keygauge.telemetry.labels import (
    BASE,
    MAX_RESTS,
    METHODS,
    OTHER_METHOD,
    RANKED,
    Cardinality,
    Labels,
    Names,
    nameless,
    rest,
)
from keygauge.usage import Usage

HOST_SERIES = 2000  # default cardinality limit per instrument of an SDK that the host set up
SERIES = 20_000
# An observation takes the SDK about 10 us. A thread yields after this many; otherwise a request that wakes up meanwhile
# waits for the interpreter's switch interval (5 ms) each time.
GIVE_WAY = 50
TURN_S = 60.0

_log = logging.getLogger(__name__)
_MOST_PENDING = 4096  # a few seconds of one busy process; each keeps its call in memory
_FIRST_COME = 4 / 5  # share of the series given out first come, first served
_DRAIN_AT_ONCE = 64  # on the request path, when the queue is full: takes well below a millisecond
_HANDED_OVER_S = 1.0  # how long a reader waits for another thread's observation, which runs in the host's SDK

Observe = Callable[[Labels, Call], None]
Charge = Callable[[Counters, Call, Usage], None]


class Aggregator:
    """The metrics of one process; every method is thread-safe.

    `max_series` is the most series that each instrument ever has.
    """

    def __init__(
        self, *, max_keys: int = 1000, max_routes: int = 200, max_models: int = 100, max_series: int = SERIES
    ) -> None:
        if max_series < 2 * MAX_RESTS:
            raise ValueError(
                f"max_series is {max_series}: use {2 * MAX_RESTS} or more, as some are reserved for the rest"
            )
        self._max_names = {"max_keys": max_keys, "max_routes": max_routes, "max_models": max_models}
        self._max_cells = max_series - MAX_RESTS
        self._max_bases = self._max_cells // 3  # tokens are counted in up to three subsets per base
        self.observe: Observe | None = None
        self.charge: Charge | None = None  # prices a call, and calls `add_cost` when its rates are known
        self.reset()

    def reset(self) -> None:
        """Start from zero, with new locks: for a child process after a fork."""
        self._lock = Lock()
        self._cost_lock = Lock()  # separate, so that the request path never waits for costs
        self._folding = Cardinality(**self._max_names)
        self._reasons = Names(50)
        self._cells: dict[tuple[object, ...], Counters] = {}  # those in use: none of replaced names
        self._series: dict[Labels, Counters] = {}  # all that ever existed
        self.is_ending = False  # the next collection is the last
        self._bases: set[tuple[object, ...]] = set()  # of all series
        self._late: set[str] = set()  # names that replaced others
        self._active: set[Call] = set()  # adding and discarding are atomic, so no lock
        self.started = self._active.add  # counts a request as active, until `record`
        self._folded: dict[str, int] = {}
        self._faults: dict[str, int] = {}
        self._dropped: dict[str, int] = {}
        self._tags_dropped: dict[str, int] = {}
        self._pending: deque[Call] = deque()
        self._counted = 0  # calls counted but not yet handed to `observe` and `charge`
        self._all_handed_over = Condition(self._lock)

    def record(self, call: Call) -> None:
        """Queue a finished call, once; it must not change afterwards."""
        self._active.discard(call)
        pending = self._pending
        pending.append(call)
        if len(pending) >= _MOST_PENDING:
            self.drain(_DRAIN_AT_ONCE)

    def _count(self, call: Call) -> tuple[Counters, str | None]:
        """Count a call; return its series and what failed, if anything. The caller holds the lock."""
        labels = (
            call.key,
            call.route,
            call.model or call.requested_model,
            call.requested_model,
            call.provider,
            call.method,
            call.status,
            call.error,
            call.outcome,
            call.limit,
            call.stream,
            call.missing,
        )
        failed = None
        try:
            cell = self._cells.get(labels)
        except TypeError:  # a label is not hashable
            cell = None
        if cell is None:
            try:
                cell = self._find(Labels._make(labels), is_proven=call.model is not None)
            except Exception:  # noqa: BLE001 - a call is counted even if its labels fail
                failed, cell = "labels", self._nameless(call)
        if call.outcome != PART:
            cell.requests += 1
        try:
            cell.add(call)
        except Exception:  # noqa: BLE001 - an app can set any value on its call
            failed = "sums"
        return cell, failed

    def fault(self, reason: str) -> None:
        """Count one of KeyGauge's own failures."""
        with self._lock:
            _add(self._faults, self._reasons.fold(reason), 1)

    def dropped(self, reason: str, count: int) -> None:
        """Count events that will not reach the ledger."""
        with self._lock:
            _add(self._dropped, self._reasons.fold(reason), count)

    def tag_dropped(self, reason: str) -> None:
        """Count a rejected end-user tag."""
        with self._lock:
            _add(self._tags_dropped, reason, 1)

    def add_cost(self, cell: Counters, cost_nanousd: int) -> None:
        """Add a call's cost to the series it was counted in."""
        with self._cost_lock:
            cell.cost_nanousd += cost_nanousd

    def add_unpriced(self, cell: Counters) -> None:
        """Count a call under a cost limit whose price is unknown."""
        with self._cost_lock:
            cell.unpriced += 1

    def drain(self, most: int | None = None) -> None:
        """Count pending calls and hand them to `observe` and `charge`: the `most` oldest, or all of them.

        When draining all, also wait for calls that other threads are handing over, so that readers see their
        observations.
        """
        pending = self._pending
        with self._lock:  # another thread may be counting the last call
            waiting = len(pending) if most is None else most
        for number in range(waiting):
            if number % GIVE_WAY == GIVE_WAY - 1 and most is None:
                time.sleep(0)
            with self._lock:  # held for both steps: a call no longer in the queue has been counted
                if not pending:  # another thread drained it
                    break
                call = pending.popleft()
                cell, failed = self._count(call)
                self._counted += 1
            try:
                self._hand_over(cell, call, failed)
            finally:
                with self._all_handed_over:
                    self._counted -= 1
                    self._all_handed_over.notify_all()
        if most is None:
            with self._all_handed_over:
                self._all_handed_over.wait_for(lambda: not self._counted, _HANDED_OVER_S)

    def _hand_over(self, cell: Counters, call: Call, failed: str | None) -> None:
        observe, charge = self.observe, self.charge
        if failed is not None:
            self.fault(failed)
        if observe is not None:
            self._observe(observe, cell.series, call)
        if charge is not None and call.usage is not None:
            self._charge(charge, cell, call, call.usage)

    def _observe(self, observe: Observe, series: Labels, call: Call) -> None:
        try:
            observe(series, call)
        except Exception:  # noqa: BLE001 - the host's SDK and views can raise anything
            self.fault("histogram")
            _log.debug("An observation was lost", exc_info=True)

    def _charge(self, charge: Charge, cell: Counters, call: Call, usage: Usage) -> None:
        try:
            charge(cell, call, usage)
        except Exception:  # noqa: BLE001 - our own failures must not reach the app
            self.fault("cost")
            _log.debug("A cost was not counted", exc_info=True)

    def cells(self) -> list[Counters]:
        """Return all cells without blocking the request path: list() of a dict's values is atomic."""
        self.drain()
        return list(self._series.values())

    def active(self) -> dict[str, int]:
        """Return the number of active requests, by method."""
        counts = dict.fromkeys((*METHODS, OTHER_METHOD), 0)
        for call in list(self._active):
            method = call.method
            counts[method if isinstance(method, str) and method in counts else OTHER_METHOD] += 1
        return counts

    def streams(self) -> dict[StreamKind, int]:
        """Return the number of open streams, by kind."""
        counts: dict[StreamKind, int] = dict.fromkeys(get_args(StreamKind), 0)
        for call in list(self._active):
            if call.stream is not None:
                counts[call.stream] += 1
        return counts

    def folded(self) -> dict[str, int]:
        """Return how many calls lost a label, by label; "series" counts calls that lost all labels."""
        self.drain()
        return dict(self._folded)

    def faults(self) -> dict[str, int]:
        """Return KeyGauge's own failures, by reason."""
        return dict(self._faults)

    def drops(self) -> dict[str, int]:
        """Return the number of events dropped, by reason."""
        return dict(self._dropped)

    def tag_drops(self) -> dict[str, int]:
        """Return the number of rejected end-user tags, by reason."""
        return dict(self._tags_dropped)

    def _find(self, labels: Labels, *, is_proven: bool) -> Counters:
        series = self._folding.fold(labels, is_proven=is_proven)
        if series != labels:
            self._count_folded(labels, series)
        if series not in self._series and not self._has_room(series):
            _add(self._folded, "series", 1)
            series = rest(series)
        return self._cell(series)

    def _cell(self, series: Labels) -> Counters:
        """Return the cell of a series, created if new; the caller checked that there is room."""
        cell = self._series.get(series)
        if cell is None:
            self._bases.add(series[:BASE])
            cell = self._series[series] = Counters(series)
        self._cells[series] = cell
        return cell

    def _nameless(self, call: Call) -> Counters:
        """Return the cell of a call whose labels could not be determined."""
        _add(self._folded, "series", 1)
        return self._cell(nameless(call.status, call.outcome))

    def _count_folded(self, given: Labels, kept: Labels) -> None:
        for name, before, after in zip(Labels._fields, given, kept, strict=True):
            if before != after and (before or after):
                _add(self._folded, name, 1)

    def _has_room(self, series: Labels) -> bool:
        part = 1 if not self._late.isdisjoint(series[:RANKED]) else _FIRST_COME
        if len(self._series) >= self._max_cells * part:
            return False
        return series[:BASE] in self._bases or len(self._bases) < self._max_bases * part

    def turn(self) -> None:
        """Let busy names replace idle ones for labels with more names than places; call every `TURN_S` seconds."""
        self.drain()
        full = {label: names for label, names in self._folding.ranked.items() if names.is_full}
        if not full:
            return
        uses = {label: dict.fromkeys(names.kept, 0) for label, names in full.items()}
        for cell in self.cells():
            count, cell.seen = cell.requests - cell.seen, cell.requests
            for label, kept in uses.items():
                name = getattr(cell.series, label)
                if name in kept:
                    kept[name] += count
        gone = set()
        with self._lock:
            for label, names in full.items():
                for out, name in names.contenders.turn(uses[label]):
                    names.swap(out, name)
                    gone.add((label, out))
                    self._late.discard(out)
                    self._late.add(name)
        self._retire(gone)

    def _retire(self, gone: set[tuple[str, str]]) -> None:
        """Stop counting in the series that have one of these (label, name) pairs."""
        if not gone:
            return
        for cell in self.cells():
            series = cell.series
            if any((label, getattr(series, label)) in gone for label in self._folding.ranked):
                with self._lock:  # per series, so that no request waits for all of them
                    self._cells.pop(series, None)


def _add(counts: dict[str, int], name: str, count: int) -> None:
    counts[name] = counts.get(name, 0) + count
