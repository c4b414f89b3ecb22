"""What plans cost in a month that is over: by what was in force then, whatever changed since."""

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
    """A value now, and those that it had: each until a moment, the oldest first."""

    now: _Value
    until: list[datetime] = field(default_factory=list)
    before: list[_Value] = field(default_factory=list)

    def just_before(self, moment: datetime) -> _Value:
        """Return the value in force when a moment came."""
        place = bisect_left(self.until, moment)
        return self.before[place] if place < len(self.before) else self.now


@dataclass(frozen=True)
class Price:
    """What a plan costs a month; billed by the day where it is prorated."""

    monthly_nanousd: int
    prorated: bool


@dataclass(frozen=True)
class Fee:
    """What is billed of one plan: for so many days, or for the whole month."""

    plan_id: str
    nanousd: int
    days: int | None = None


@dataclass(frozen=True)
class Terms:
    """The plans that accounts had, and what these cost."""

    plans: dict[str, History[str]]  # by account
    prices: dict[str, History[Price]]  # by plan

    def plan(self, account_id: str, moment: datetime) -> str:
        """Return the plan that an account had when a moment came."""
        return self.plans[account_id].just_before(moment)

    def fees(self, account_id: str, *, start: datetime, end: datetime, since: datetime) -> list[Fee]:
        """Return the fees of a UTC month for an account that there is since a moment.

        The plan at month end says how: whole, or each day by the plan and the price at its end.
        """
        plan_id, price = self._at(account_id, end)
        if not price.prorated:
            return [Fee(plan_id, price.monthly_nanousd)]
        days = [start + number * _DAY for number in range((end - start) // _DAY)]
        return prorate([self._at(account_id, day + _DAY) for day in days if day + _DAY > since], days=len(days))

    def _at(self, account_id: str, moment: datetime) -> tuple[str, Price]:
        plan_id = self.plan(account_id, moment)
        return plan_id, self.prices[plan_id].just_before(moment)


def prorate(charged: Sequence[tuple[str, Price]], *, days: int) -> list[Fee]:
    """Divide monthly prices by the `days` of a month, for each day charged; the parts are as much as their sum."""
    fees, summed = [], 0
    for (plan_id, price), same in groupby(charged):
        number = len(list(same))
        before, summed = summed, summed + number * price.monthly_nanousd
        fees.append(Fee(plan_id, summed // days - before // days, number))
    return fees


def load(connection: Connection, account_ids: Sequence[str]) -> Terms:
    """Read the plans of some accounts, and the prices of all plans."""
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
