"""A bounded cache of the rates from the key service's heartbeat answers.

Unknown names are requested with the next heartbeat; calls waiting for their rates are priced when these arrive. Names
without a price are kept separately, so that a flood of them evicts no price.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, islice
from threading import Lock
from typing import Any, NamedTuple

from keygauge.clock import SECOND, now_ns
from keygauge.pricing.rates import Counts, Rates, cost_nanousd

_CACHED_MAX = 4096  # names with a price, and as many without
_MOST_NEW = 100  # new names per heartbeat: each is a search in the key service
_REQUESTED_MAX = 500  # names per heartbeat, see docs/reference/protocol.md
_MOST_WAITING = 10_000  # calls waiting for a price
_CACHE_NS = 6 * 3600 * SECOND  # the key service sends prices for a day ahead


class Name(NamedTuple):
    """The lookup key of a price; model and provider are spelled as in events, which the ledger prices."""

    tariff: str | None  # the account, if it has prices of its own
    provider: str | None
    model: str


class Price:
    """A model's rates over time; without steps it has no price."""

    __slots__ = ("_steps", "taken_ns")

    def __init__(self, steps: Iterable[Sequence[Any]] = (), *, taken_ns: int = 0) -> None:
        self._steps = [(from_us, tuple(Rates(*tier) for tier in tiers)) for from_us, _, tiers in steps]
        self.taken_ns = taken_ns

    def tiers_at(self, time_us: int) -> tuple[Rates, ...]:
        """Return the rates by input size, smallest first, for calls that start at a time; empty without a price."""
        steps = self._steps
        if len(steps) > 1:
            return next((tiers for from_us, tiers in reversed(steps) if from_us <= time_us), steps[0][1])
        return steps[0][1] if steps else ()

    def cost_nanousd(self, time_us: int, counts: Counts) -> int | None:
        """Return the cost of a call; None if there is no price."""
        tiers = self.tiers_at(time_us)
        return cost_nanousd(tiers, counts) if tiers else None


Then = Callable[[int | None], None]  # receives a call's cost; None: it has no price
_Waiting = tuple[int, Counts, Then]


class PriceCache:
    """Prices by name. Every method is thread-safe; `then` is called without holding the lock."""

    def __init__(self, *, on_fault: Callable[[str], None], clock: Callable[[], int] = now_ns) -> None:
        self._on_fault = on_fault
        self._clock = clock
        self._lock = Lock()
        self._state: str | None = None
        self._priced: OrderedDict[Name, Price] = OrderedDict()  # most recently used last
        self._unpriced: OrderedDict[Name, Price] = OrderedDict()
        self._urgent: dict[Name, None] = {}  # requests wait for these
        self._waiting: dict[Name, list[_Waiting]] = {}  # finished calls wait for these to be priced
        self._waiting_calls = 0
        self._old: dict[Name, None] = {}  # to be refreshed, and used meanwhile

    def find(self, name: Name) -> Price | None:
        """Return a price, without steps if the model has none; None if that is not known yet."""
        with self._lock:
            return self._find(name)

    def want(self, name: Name) -> bool:
        """Request a price that a request waits for with the next heartbeat; return False if too many are awaited."""
        with self._lock:
            if len(self._urgent) < _MOST_NEW:
                self._urgent[name] = None
            return name in self._urgent

    def cost(self, name: Name, time_us: int, counts: Counts, then: Then) -> bool:
        """Pass a call's cost, by its start time, to `then`, now or when its rates arrive; False: too many wait."""
        with self._lock:
            price = self._find(name)
            if price is None:
                if self._waiting_calls >= _MOST_WAITING:
                    self._on_fault("cost_unknown")
                    return False
                self._waiting_calls += 1
                self._waiting.setdefault(name, []).append((time_us, counts, then))
                return True
        then(price.cost_nanousd(time_us, counts))
        return True

    @property
    def is_awaited(self) -> bool:
        """Return whether finished calls wait for a price."""
        return bool(self._waiting)

    @property
    def is_urgent(self) -> bool:
        """Return whether the next heartbeat is urgent: a request waits, or prices must be refreshed."""
        return bool(self._urgent or self._old)

    def offer(self) -> tuple[dict[str, Any], list[Name]]:
        """Return the `prices` part of a heartbeat, and the names it requests."""
        with self._lock:
            names = list(dict.fromkeys(islice(chain(self._urgent, self._waiting), _MOST_NEW)))
            names += [name for name in islice(self._old, _REQUESTED_MAX - len(names)) if name not in names]
            return {"state": self._state, "want": [name._asdict() for name in names]}, names

    def take(self, part: dict[str, Any] | None, names: Sequence[Name]) -> None:
        """Store the answer to an offer; older key services send none."""
        now = self._clock()
        due: list[tuple[Price, list[_Waiting]]] = []
        with self._lock:
            if part is not None and part["state"] != self._state:
                self._state = part["state"]
                self._old = dict.fromkeys(reversed(self._priced))
                self._unpriced.clear()
            for name, steps in zip(names, part["rates"] if part else [()] * len(names), strict=True):
                price = Price(steps, taken_ns=now)
                self._keep(name, price, is_priced=bool(steps))
                self._urgent.pop(name, None)
                self._old.pop(name, None)
                due.append((price, self._waiting.pop(name, [])))
                self._waiting_calls -= len(due[-1][1])
        for price, calls in due:
            for time_us, counts, then in calls:
                then(price.cost_nanousd(time_us, counts))

    def _find(self, name: Name) -> Price | None:
        price = self._priced.get(name)
        if price is None:
            price = self._unpriced.get(name)
            if price is not None and self._clock() - price.taken_ns > _CACHE_NS:
                del self._unpriced[name]
                return None
            return price
        self._priced.move_to_end(name)
        if self._clock() - price.taken_ns > _CACHE_NS:
            self._old[name] = None
        return price

    def _keep(self, name: Name, price: Price, *, is_priced: bool) -> None:
        kept, other = (self._priced, self._unpriced) if is_priced else (self._unpriced, self._priced)
        other.pop(name, None)
        kept[name] = price
        if len(kept) > _CACHED_MAX:
            gone, _ = kept.popitem(last=False)
            self._old.pop(gone, None)
