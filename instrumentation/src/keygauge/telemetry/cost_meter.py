"""Metering of call costs, off the request path."""

from __future__ import annotations

from keygauge.call import Call
from keygauge.limits.cost import Costing
from keygauge.telemetry.aggregator import Aggregator
from keygauge.telemetry.counters import Counters
from keygauge.usage import Usage


class CostMeter:
    """A meter that adds the cost of each call to the series an aggregator counted it in."""

    def __init__(self, costing: Costing, aggregator: Aggregator) -> None:
        self._costing = costing
        self._aggregator = aggregator
        aggregator.charge = self.charge

    def stop(self) -> None:
        """Stop counting costs."""
        if self._aggregator.charge == self.charge:
            self._aggregator.charge = None

    def charge(self, cell: Counters, call: Call, usage: Usage) -> None:
        """Add a call's cost to its series once it is known."""

        def add(cost_nanousd: int | None) -> None:
            if cost_nanousd:
                self._aggregator.add_cost(cell, cost_nanousd)
            elif cost_nanousd is None and call.is_budgeted:
                self._aggregator.add_unpriced(cell)

        self._costing.cost(call, usage, add)
