"""The interface of all kinds of limits: load a state from a row, grant units, take units back, and dump the state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias

from keygauge.protocol import Acquisition, ClockReading
from keygauge_keyservice.limits.grant import Grant

TERMS = "unit, amount, window_s, period, anchor, zone, smooth"
"""The columns of a limit that select its kind and that kinds read."""
STATE = "head, cells, ends, clock, stamps"
"""The columns of a limit's state; each kind uses them differently."""
Row: TypeAlias = Mapping[str, Any]
"""A limit's `TERMS` and `STATE`."""


class Columns(NamedTuple):
    """The values of `STATE`."""

    head: int = 0
    cells: tuple[int, ...] = (0,)
    ends: tuple[int, ...] = ()
    clock: str = ""
    stamps: tuple[int, ...] = ()


@dataclass(frozen=True)
class Refund:
    """A report on a returned lease: its unspent units, and when the others were spent."""

    bucket: int
    unspent: int
    spent: int
    ago_us: int | None = None  # the last unit was spent at least this long ago
    reading: ClockReading | None = None  # the last unit was spent before this time by the replica's clock


@dataclass(frozen=True)
class Wish:
    """A replica's request for units of a limit that `replicas` use, and the reading of its clock at the request."""

    wanted: Acquisition
    now_us: int
    replicas: int
    reading: ClockReading | None = None

    @property
    def counts(self) -> dict[str, int]:
        """Return the arguments that all kinds use."""
        units, waiting = self.wanted.units, self.wanted.waiting
        return {"now_us": self.now_us, "want": units, "waiting": waiting, "replicas": self.replicas}


class Kind(Protocol):
    """The immutable state of one limit: granting and taking back return a new one."""

    @property
    def used(self) -> int:
        """Return the units that count."""

    @classmethod
    def load(cls, row: Row) -> Kind:
        """Load the state from a limit's row."""

    def now(self, row: Row, *, now_us: int) -> tuple[Kind, int | None]:
        """Return the current state, and when all units are free again, None if never."""

    def give(self, wish: Wish, row: Row) -> Grant[Any]:
        """Grant what the limit allows."""

    def take_back(self, refund: Refund, row: Row, *, now_us: int) -> Kind:
        """Apply a replica's report on a lease."""

    def dump(self) -> Columns | None:
        """Return the columns to store; None if only leases are stored."""
