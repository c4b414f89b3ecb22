"""What calls cost, for the metrics: by the rule and the rates of the ledger, off the request path."""

from __future__ import annotations

from keygauge import event
from keygauge.aggregator import Aggregator
from keygauge.beat import Beat
from keygauge.call import Call
from keygauge.cell import Cell
from keygauge.price_list import Name
from keygauge.usage import Usage


class Costing:
    """Prices the calls that an aggregator counted, from the prices that a beat brings."""

    def __init__(self, beat: Beat, aggregator: Aggregator) -> None:
        self._beat = beat
        self._aggregator = aggregator
        aggregator.charge = self.charge

    def stop(self) -> None:
        """Price no more calls; those that are ended by then have been priced by the last beat."""
        if self._aggregator.charge == self.charge:
            self._aggregator.charge = None

    def charge(self, cell: Cell, call: Call, usage: Usage) -> None:
        """Add a call's cost to its series, now or with the beat that tells its price."""
        if call.model is None or (usage.input_tokens is None and usage.output_tokens is None):
            return

        def add(cost_nanousd: int | None) -> None:
            if cost_nanousd:
                self._aggregator.add_cost(cell, cost_nanousd)

        self._beat.prices.cost(price_name(self._beat, call, call.model), call.time_ns // 1000, usage, add)


def price_name(beat: Beat, call: Call, model: str) -> Name:
    """Name a call's price; that of a key which is forgotten meanwhile is asked for by its account."""
    key = beat.admission.keyring.keys.get(call.key)
    return Name(
        key.tariff if key else call.account,
        None if call.provider is None else event.as_written(call.provider),
        event.as_written(model),
    )
