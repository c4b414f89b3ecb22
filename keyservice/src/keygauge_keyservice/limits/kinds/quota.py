"""Quotas: a number of units per period."""

from __future__ import annotations

from dataclasses import dataclass, replace

from keygauge_keyservice.limits.fair_share import clamp
from keygauge_keyservice.limits.grant import Grant
from keygauge_keyservice.limits.kinds.kind import Columns, Refund, Row, Wish
from keygauge_keyservice.limits.periods import Periods

LEASE_US = 30_000_000  # how long a replica may hold units it does not spend
_SECOND_US = 1_000_000
_USED_MAX = 2**53 - 1  # the maximum of any amount


@dataclass(frozen=True)
class Quota:
    """The units granted in the period that begins at `head` (in seconds) and ends at `end_us`."""

    head: int
    used: int
    end_us: int = 0

    @classmethod
    def load(cls, row: Row) -> Quota:
        """Load the counter from its row."""
        return cls(row["head"] or 0, sum(row["cells"] or ()), max(row["ends"] or (0,)))

    def dump(self) -> Columns:
        """Return the columns to store."""
        return Columns(self.head, (self.used,), (self.end_us,))

    def now(self, row: Row, *, now_us: int) -> tuple[Quota, int | None]:
        """Return the counter in the current period, and that period's end."""
        counter = advance(self, now_us=now_us, periods=_periods(row))
        return counter, None if row["period"] == "lifetime" else counter.end_us

    def give(self, wish: Wish, row: Row) -> Grant[Quota]:
        """Grant what the limit allows."""
        debt = min(wish.wanted.debt, wish.wanted.units)
        return grant(self, amount=row["amount"], periods=_periods(row), debt=debt, **wish.counts)

    def take_back(self, refund: Refund, row: Row, *, now_us: int) -> Quota:  # noqa: ARG002 - as any kind
        """Apply a refund."""
        return self.refund(refund.unspent, head=refund.bucket)

    def room(self, amount: int) -> int:
        """Return how much of an amount is left; 0 if the limit was lowered below its usage."""
        return max(0, amount - self.used)

    def take(self, units: int) -> Quota:
        """Count granted units."""
        return replace(self, used=self.used + units)

    def refund(self, units: int, *, head: int) -> Quota:
        """Take units back into the period they came from; once that is over, they are lost."""
        return self.take(-min(units, self.used)) if head == self.head else self


def with_earlier_use(row: Row, units: int, *, now_us: int) -> Quota:
    """Return the counter of a row in the current period, with at least the units used before it was opened."""
    counter = advance(Quota.load(row), now_us=now_us, periods=_periods(row))
    return replace(counter, used=max(counter.used, min(units, _USED_MAX)))


def advance(counter: Quota, *, now_us: int, periods: Periods) -> Quota:
    """Advance to the current period; a clock that was set back never moves a counter back."""
    if now_us < counter.end_us:
        return counter
    start_s, end_s = periods.around(now_us // _SECOND_US)
    return Quota(start_s, 0, end_s * _SECOND_US)


def grant(
    counter: Quota,
    *,
    now_us: int,
    amount: int,
    periods: Periods,
    want: int,
    replicas: int = 1,
    waiting: int = 1,
    debt: int = 0,
) -> Grant[Quota]:
    """Grant up to the units wanted if the quota allows, and return when the next period starts.

    `debt` is how many of them were used already: they count in any case.
    """
    counter = advance(counter, now_us=now_us, periods=periods)
    debt = min(debt, max(0, _USED_MAX - counter.used))
    counter = counter.take(debt)
    units = clamp(want - debt, remaining=counter.room(amount), replicas=replicas, waiting=waiting - debt)
    counter = counter.take(units)
    return Grant(
        state=counter,
        units=debt + units,
        remaining=counter.room(amount),
        ends_us=min(counter.end_us, now_us + LEASE_US),
        reset_us=counter.end_us - now_us,
        bucket=counter.head,
    )


def _periods(row: Row) -> Periods:
    return Periods(row["period"], row["anchor"], row["zone"])
