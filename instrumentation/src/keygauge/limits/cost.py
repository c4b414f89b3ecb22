"""What calls cost, before and after they happen: by the rule and the rates of the ledger, once those are known."""

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
    """Prices calls before and after they happen, from the prices that the heartbeat brings."""

    def __init__(self, prices: PriceCache, key_cache: KeyCache) -> None:
        self._prices = prices
        self._key_cache = key_cache
        self.answered = AnsweredModels()

    def cost(self, call: Call, usage: Usage, then: Then) -> bool:
        """Have a call's cost told, now or with the heartbeat that brings its price; None where it has no price.

        False: too many calls wait for prices, this one's cost will not be told.
        """
        if call.model is None or not (usage.details or usage[:2] != (None, None)):
            then(None)
            return True
        key = self._key_cache.keys.get(call.key)
        tariff = key.tariff if key else call.account  # of a key that is forgotten meanwhile, its account's is right too
        provider = None if call.provider is None else printable(call.provider)
        name = Name(tariff, provider, printable(call.model))
        return self._prices.cost(name, call.time_ns // 1000, usage, then)

    def find(self, tariff: str | None, provider: str | None, model: str, time_ns: int) -> tuple[Rates, ...] | None:
        """Return the rates of a model that a request names; none where it has no price, None where to ask for it."""
        price = self._prices.find(Name(tariff, provider, printable(model)))
        return None if price is None else price.tiers_at(time_ns // 1000)

    def want(self, tariff: str | None, provider: str | None, model: str) -> bool:
        """Have the next heartbeat ask for a model's rates; False where too many are asked for."""
        return self._prices.want(Name(tariff, provider, printable(model)))

    def settle(self, admission: Admission, reservation: Reservation, call: Call, *, failed: bool) -> None:
        """Settle what a call had reserved of limits of cost: its cost, or all of it where its usage is not known.

        A model without a price takes the least of them where all that was known were prices of other calls.
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
            # What has no price, or broke off, may have cost more than is known: what was reserved stays charged.
            is_known = cost_nanousd is not None and (is_whole or cost_nanousd > reserved)
            if cost_nanousd is None and call.is_guess:
                is_known, cost_nanousd = True, _LEAST
            admission.settle(reservation, {"nanousd": cost_nanousd} if is_known else {})

        if not self.cost(call, usage, settle):
            admission.settle(reservation, {})

    def _learn(self, call: Call) -> None:
        """Note which model answered a call."""
        if call.usage is None or call.model is None:
            return
        model, requested = (call.provider, str(call.model)), requested_by(call)
        for what in {requested, call.template}:
            self.answered.learn(what, model)


def _most(reservation: Reservation) -> int:
    """Return the most that was reserved of one limit."""
    totals: dict[int, int] = {}
    for lease_pool, _, units in reservation.parts:
        totals[id(lease_pool)] = totals.get(id(lease_pool), 0) + units
    return max(totals.values())
