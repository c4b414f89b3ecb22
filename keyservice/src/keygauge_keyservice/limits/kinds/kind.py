"""What every kind of limit can do: its state is loaded from a row, gives units, takes some back, and is dumped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias

from keygauge.protocol import Acquisition, ClockReading
from keygauge_keyservice.limits.grant import Grant

Row: TypeAlias = Mapping[str, Any]
"""A limit's state beside its terms: unit, amount, window_s, period, anchor, zone, smooth."""


class Columns(NamedTuple):
    """What the database keeps of a state; each kind has its own use for them."""

    head: int = 0
    cells: tuple[int, ...] = (0,)
    ends: tuple[int, ...] = ()
    clock: str = ""
    stamps: tuple[int, ...] = ()


@dataclass(frozen=True)
class Refund:
    """What a return says of a lease: units not spent, and when the others were."""

    bucket: int
    unspent: int
    spent: int
    ago_us: int | None = None  # the last unit was spent so long ago, or longer
    reading: ClockReading | None = None  # it was spent before this, by a clock of the replica


@dataclass(frozen=True)
class Wish:
    """What a replica wants of a limit that so many use, and its clock as it showed when that was asked."""

    wanted: Acquisition
    now_us: int
    replicas: int
    reading: ClockReading | None = None

    @property
    def counts(self) -> dict[str, int]:
        """Return what every kind goes by."""
        units, waiting = self.wanted.units, self.wanted.waiting
        return {"now_us": self.now_us, "want": units, "waiting": waiting, "replicas": self.replicas}


class Kind(Protocol):
    """The shared side of one limit, which never changes: what is given or taken back makes another."""

    @property
    def used(self) -> int:
        """Return the units that count."""

    @classmethod
    def load(cls, row: Row) -> Kind:
        """Read the state from a limit's row."""

    def now(self, row: Row, *, now_us: int) -> tuple[Kind, int | None]:
        """Return the state as it is by now, and when all of it is free again, if ever."""

    def give(self, wish: Wish, row: Row) -> Grant[Any]:
        """Grant what the limit's terms allow."""

    def take_back(self, refund: Refund, row: Row, *, now_us: int) -> Kind:
        """Apply what a replica told of a lease."""

    def dump(self) -> Columns | None:
        """Write the state; None where leases alone are kept."""
