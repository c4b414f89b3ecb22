"""The cost of calls, before and after they happen, by the ledger's rules and rates once those are known."""

from __future__ import annotations

from keygauge.call import Call
from keygauge.limits.admission import Admission, Reservation
from keygauge.limits.answered_models import AnsweredModels, requested_by
from keygauge.limits.key_cache import KeyCache
from keygauge.pricing.price_cache import Name, PriceCache, Then
from keygauge.pricing.rates import Rates
from keygauge.text import printable
from keygauge.usage import Usage

_LEAST = 1  # nano-USD


class Costing:
    """Prices calls before and after they happen, with the prices that heartbeats deliver."""

    def __init__(self, prices: PriceCache, key_cache: KeyCache) -> None:
        self._prices = prices
        self._key_cache = key_cache
        self.answered = AnsweredModels()

    def cost(self, call: Call, usage: Usage, then: Then) -> bool:
        """Call `then` with a call's cost, now or when a heartbeat delivers its price; with None if it has no price.

        Return False if too many calls wait for prices: `then` will not be called.
        """
        if call.model is None or not (usage.details or usage[:2] != (None, None)):
            then(None)
            return True
        key = self._key_cache.keys.get(call.key)
        tariff = key.tariff if key else call.account  # if the key was forgotten, its account's is also right
        provider = None if call.provider is None else printable(call.provider)
        name = Name(tariff, provider, printable(call.model))
        return self._prices.cost(name, call.time_ns // 1000, usage, then)

    def find(self, tariff: str | None, provider: str | None, model: str, time_ns: int) -> tuple[Rates, ...] | None:
        """Return the rates of a model that a request names; empty if it has no price, None if not known yet."""
        price = self._prices.find(Name(tariff, provider, printable(model)))
        return None if price is None else price.tiers_at(time_ns // 1000)

    def want(self, tariff: str | None, provider: str | None, model: str) -> bool:
        """Request a model's rates with the next heartbeat; False if too many are requested."""
        return self._prices.want(Name(tariff, provider, printable(model)))

    def settle(self, admission: Admission, reservation: Reservation, call: Call, *, failed: bool) -> None:
        """Settle a call's reservation on cost limits: charge its cost, or all of it if its usage is unknown.

        A model without a price is charged the minimum if only the prices of other calls were known.
        """
        usage = call.usage
        if not failed:
            self._learn(call)
        if usage is None:
            admission.settle(reservation, {"nanousd": 0} if failed else {})
            return
        reserved = _most(reservation)
        is_whole = call.usage_status == "reported"

        def settle(cost_nanousd: int | None) -> None:
            # A call without a price, or one that broke off, may have cost more than is known: the reservation stays.
            is_known = cost_nanousd is not None and (is_whole or cost_nanousd > reserved)
            if cost_nanousd is None and call.is_guess:
                is_known, cost_nanousd = True, _LEAST
            admission.settle(reservation, {"nanousd": cost_nanousd} if is_known else {})

        if not self.cost(call, usage, settle):
            admission.settle(reservation, {})

    def _learn(self, call: Call) -> None:
        """Record which model answered a call."""
        if call.usage is None or call.model is None:
            return
        model, requested = (call.provider, str(call.model)), requested_by(call)
        for what in {requested, call.template}:
            self.answered.learn(what, model)


def _most(reservation: Reservation) -> int:
    """Return the largest reservation of a single limit."""
    totals: dict[int, int] = {}
    for lease_pool, _, units in reservation.parts:
        totals[id(lease_pool)] = totals.get(id(lease_pool), 0) + units
    return max(totals.values())
