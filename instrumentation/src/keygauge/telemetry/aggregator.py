"""Counts every call once, in memory: bounded whatever the input, with exact totals.

A call that ends only joins a queue; it is counted off the request path, by `drain()`, or by whoever reads the counts.
Each distinct combination of labels has one `Cell` of sums. Labels fold first come, first kept: the first `max_keys`
keys have series of their own, later ones are counted under the key "other"; likewise routes, models and the rest. When
no more combinations fit, a new one is counted in the few series of `series.rest`. A folded call is never moved, so
counters never go backwards; `folded()` tells how many calls lost a label.

At a `turn()`, keys, routes and models that are used a lot more take the place of idle ones (`heavy_hitters`). The
series of one that goes stand still from then on, and go on when it has a place again: neither a series nor a sum over
them ever falls. The bound is on all series there ever were; a part of it is for those that come late.

Observations for histograms, and costs, are made by `drain()` too.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from threading import Condition, Lock

from keygauge.call import Call, StreamKind
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

HOST_SERIES = 2000  # what an SDK that the host set up keeps per instrument before it folds by its own rule
SERIES = 20_000
# The SDK takes about 10 us an observation. A thread that makes many lets others run after each so many of them, or a
# request that wakes up meanwhile waits for the interpreter's switch interval, 5 ms, each time.
GIVE_WAY = 50
TURN_S = 60.0

_log = logging.getLogger(__name__)
_MOST_PENDING = 4096  # a few seconds of one busy process; each holds on to its call
_FIRST_COME = 4 / 5  # of the series are for those that come first
_DRAIN_AT_ONCE = 64  # on the request path, when the queue is full: well below a millisecond
_HANDED_OVER_S = 1.0  # how long a reader waits for another thread's observation, which is the host's SDK's

Observe = Callable[[Labels, Call], None]
Charge = Callable[[Counters, Call, Usage], None]


class Aggregator:
    """The metrics of one process; every method may be called from any thread.

    `max_series` bounds every instrument: none ever has had more series than that.
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
        """Begin at zero. For a child after a fork: the parent's counts are not its own, nor is the parent's lock."""
        self._lock = Lock()
        self._cost_lock = Lock()  # its own: costs are added off the request path, which must not wait for them
        self._folding = Cardinality(**self._max_names)
        self._reasons = Names(50)
        self._cells: dict[tuple[object, ...], Counters] = {}  # those whose names have a place
        self._series: dict[Labels, Counters] = {}  # all there ever were
        self.is_ending = False  # the collection to come is the last
        self._bases: set[tuple[object, ...]] = set()  # of all series
        self._late: set[str] = set()  # names that took another's place
        self._active: set[Call] = set()  # to add and to take out is one step each: no lock
        self.started = self._active.add  # counts a request in as active; `record` counts it out
        self._folded: dict[str, int] = {}
        self._faults: dict[str, int] = {}
        self._dropped: dict[str, int] = {}
        self._tags_dropped: dict[str, int] = {}
        self._pending: deque[Call] = deque()
        self._counted = 0  # calls that are counted and not yet handed to `observe` and `charge`
        self._all_handed_over = Condition(self._lock)

    def record(self, call: Call) -> None:
        """Take a call, once, at its end: nothing changes it any more."""
        self._active.discard(call)
        pending = self._pending
        pending.append(call)
        if len(pending) >= _MOST_PENDING:
            self.drain(_DRAIN_AT_ONCE)

    def _count(self, call: Call) -> tuple[Counters, str | None]:
        """Count a call; return the series it is counted in, and what failed. Under the lock."""
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
        except TypeError:  # a label that is not even hashable
            cell = None
        if cell is None:
            try:
                cell = self._find(Labels._make(labels), is_proven=call.model is not None)
            except Exception:  # noqa: BLE001 - a call is counted, whatever becomes of its labels
                failed, cell = "labels", self._nameless(call)
        cell.requests += 1
        try:
            cell.add(call)
        except Exception:  # noqa: BLE001 - an app may have put anything into its call
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
        """Count an end user that was named and is not taken."""
        with self._lock:
            _add(self._tags_dropped, reason, 1)

    def add_cost(self, cell: Counters, cost_nanousd: int) -> None:
        """Add a call's cost to the series it was counted in."""
        with self._cost_lock:
            cell.cost_nanousd += cost_nanousd

    def add_unpriced(self, cell: Counters) -> None:
        """Count a call that a limit of cost is for and that no price is known of."""
        with self._cost_lock:
            cell.unpriced += 1

    def drain(self, most: int | None = None) -> None:
        """Count waiting calls and hand them to `observe` and `charge`: the `most` oldest, or all of them.

        All includes the call that another thread is handing over: who reads counts finds its observation too.
        """
        pending = self._pending
        with self._lock:  # another thread may be counting the last one
            waiting = len(pending) if most is None else most
        for number in range(waiting):
            if number % GIVE_WAY == GIVE_WAY - 1 and most is None:
                time.sleep(0)
            with self._lock:  # over both: what is not in the queue any more has been counted
                if not pending:  # another thread drains too
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
        except Exception:  # noqa: BLE001 - whatever SDK and views the host set up may raise
            self.fault("histogram")
            _log.debug("An observation was lost", exc_info=True)

    def _charge(self, charge: Charge, cell: Counters, call: Call, usage: Usage) -> None:
        try:
            charge(cell, call, usage)
        except Exception:  # noqa: BLE001 - our failure, which must not reach the app
            self.fault("cost")
            _log.debug("A cost was not counted", exc_info=True)

    def cells(self) -> list[Counters]:
        """Return all cells, without stopping the request path: list() of a dict's values is one step."""
        self.drain()
        return list(self._series.values())

    def active(self) -> dict[str, int]:
        """Return the requests being answered, by method."""
        counts = dict.fromkeys((*METHODS, OTHER_METHOD), 0)
        for call in list(self._active):
            method = call.method
            counts[method if isinstance(method, str) and method in counts else OTHER_METHOD] += 1
        return counts

    def streams(self) -> dict[StreamKind, int]:
        """Return the open streams, by kind."""
        counts: dict[StreamKind, int] = {"sse": 0, "websocket": 0}
        for call in list(self._active):
            if call.stream is not None:
                counts[call.stream] += 1
        return counts

    def folded(self) -> dict[str, int]:
        """Return how many calls lost a label, by label; "series" when all of them."""
        self.drain()
        return dict(self._folded)

    def faults(self) -> dict[str, int]:
        """Return KeyGauge's own failures, by reason."""
        return dict(self._faults)

    def drops(self) -> dict[str, int]:
        """Return the events dropped, by reason."""
        return dict(self._dropped)

    def tag_drops(self) -> dict[str, int]:
        """Return the end users that were named and not taken, by reason."""
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
        """Return the cell of a series that there is room for."""
        cell = self._series.get(series)
        if cell is None:
            self._bases.add(series[:BASE])
            cell = self._series[series] = Counters(series)
        self._cells[series] = cell
        return cell

    def _nameless(self, call: Call) -> Counters:
        """Return the cell of a call whose labels cannot be told."""
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
        """Let busy names take the places of idle ones where there are more names than places; call each `TURN_S`."""
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
        """Count nothing more in the series that have one of these labels and names."""
        if not gone:
            return
        for cell in self.cells():
            series = cell.series
            if any((label, getattr(series, label)) in gone for label in self._folding.ranked):
                with self._lock:  # each by itself, so that no request waits for all
                    self._cells.pop(series, None)


def _add(counts: dict[str, int], name: str, count: int) -> None:
    counts[name] = counts.get(name, 0) + count
