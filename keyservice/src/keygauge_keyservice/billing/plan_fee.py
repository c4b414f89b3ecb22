"""Plan fees for a month, based on the plans and prices in force during that month."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from typing import Generic, TypeVar

from keygauge_keyservice.database import Connection

_DAY = timedelta(days=1)
_Value = TypeVar("_Value")


@dataclass
class History(Generic[_Value]):
    """A value and its earlier versions, oldest first; `before[i]` was in force until `until[i]`."""

    now: _Value
    until: list[datetime] = field(default_factory=list)
    before: list[_Value] = field(default_factory=list)

    def just_before(self, instant: datetime) -> _Value:
        """Return the value in force just before an instant."""
        place = bisect_left(self.until, instant)
        return self.before[place] if place < len(self.before) else self.now


@dataclass(frozen=True)
class Price:
    """A plan's monthly price; billed by the day if prorated."""

    monthly_nanousd: int
    prorated: bool


@dataclass(frozen=True)
class Fee:
    """The fee for a plan, for a number of days or (None) for the whole month."""

    plan_id: str
    nanousd: int
    days: int | None = None


@dataclass(frozen=True)
class Terms:
    """The histories of accounts' plans and of plans' prices."""

    plans: dict[str, History[str]]  # by account
    prices: dict[str, History[Price]]  # by plan

    def plan(self, account_id: str, instant: datetime) -> str:
        """Return the plan that an account had just before an instant."""
        return self.plans[account_id].just_before(instant)

    def fees(self, account_id: str, *, start: datetime, end: datetime, since: datetime) -> list[Fee]:
        """Return an account's plan fees for a UTC month; `since` is when the account was created.

        If the plan at month end is prorated, each day is billed by the plan and price at the end of that day; otherwise
        the plan at month end is billed in full.
        """
        plan_id, price = self._at(account_id, end)
        if not price.prorated:
            return [Fee(plan_id, price.monthly_nanousd)]
        days = [start + number * _DAY for number in range((end - start) // _DAY)]
        return prorate([self._at(account_id, day + _DAY) for day in days if day + _DAY > since], days=len(days))

    def _at(self, account_id: str, instant: datetime) -> tuple[str, Price]:
        plan_id = self.plan(account_id, instant)
        return plan_id, self.prices[plan_id].just_before(instant)


def prorate(charged: Sequence[tuple[str, Price]], *, days: int) -> list[Fee]:
    """Bill each charged day at 1/`days` of its monthly price; the rounded fees still add up to the total."""
    fees, summed = [], 0
    for (plan_id, price), same in groupby(charged):
        number = len(list(same))
        before, summed = summed, summed + number * price.monthly_nanousd
        fees.append(Fee(plan_id, summed // days - before // days, number))
    return fees


def load(connection: Connection, account_ids: Sequence[str]) -> Terms:
    """Load the plan histories of some accounts, and the price histories of all plans."""
    plans = {
        row["id"]: History(row["plan_id"])
        for row in connection.execute(
            "/* plan_fee.plans */ SELECT id, plan_id FROM account WHERE id = ANY(%s)", (list(account_ids),)
        )
    }
    for row in connection.execute(
        "/* plan_fee.plans_before */ SELECT * FROM account_plan_before WHERE account_id = ANY(%s) ORDER BY until",
        (list(account_ids),),
    ):
        plans[row["account_id"]].until.append(row["until"])
        plans[row["account_id"]].before.append(row["plan_id"])
    prices = {
        row["id"]: History(Price(row["monthly_nanousd"] or 0, row["prorated"]))
        for row in connection.execute("/* plan_fee.prices */ SELECT id, monthly_nanousd, prorated FROM plan")
    }
    for row in connection.execute("/* plan_fee.prices_before */ SELECT * FROM plan_price_before ORDER BY until"):
        prices[row["plan_id"]].until.append(row["until"])
        prices[row["plan_id"]].before.append(Price(row["monthly_nanousd"] or 0, row["prorated"]))
    return Terms(plans, prices)
