"""What calls cost, before and after they happen: by the rule and the rates of the ledger, once those are known."""

from __future__ import annotations

from collections.abc import Sequence

from keygauge.call import Call
from keygauge.limits.admission import Admission, Reservation
from keygauge.limits.answered_models import AnsweredModels, requested_by
from keygauge.limits.key_cache import KeyCache
from keygauge.pricing.price_cache import Name, PriceCache, Then
from keygauge.pricing.rates import Rates
from keygauge.text import printable
from keygauge.usage import Usage

_LEAST = 1  # nano-USD that a call takes of a limit of cost


class Costing:
    """Prices calls before and after they happen, from the prices that the heartbeat brings."""

    def __init__(self, prices: PriceCache, key_cache: KeyCache) -> None:
        self._prices = prices
        self._key_cache = key_cache
        self.answered = AnsweredModels()

    @property
    def dearest(self) -> Sequence[tuple[Rates, ...]]:
        """Rates by which no call costs more; none as long as they are not known."""
        return [self._prices.dearest] if self._prices.dearest else []

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

    def usual(self, call: Call) -> list[tuple[Rates, ...]]:
        """Return the rates of the models that answered calls of the same route."""
        key = self._key_cache.keys.get(call.key)
        tariff = key.tariff if key else call.account
        models = self.answered.find(call.template) or ()
        found = [self.find(tariff, provider, model, call.time_ns) for provider, model in models]
        return [tiers for tiers in found if tiers]

    def want(self, tariff: str | None, provider: str | None, model: str) -> bool:
        """Have the next heartbeat ask for a model's rates; False where too many are asked for."""
        return self._prices.want(Name(tariff, provider, printable(model)))

    def settle(self, admission: Admission, reservation: Reservation, call: Call, *, failed: bool) -> None:
        """Settle what a call had reserved of limits of cost: its cost, or all of it where its usage is not known.

        Where what was reserved is a guess, that is not kept: a call without a price costs the least there is.
        """
        usage = call.usage
        is_new = not failed and self._learn(call)
        unknown: dict[object, int | None] = {"nanousd": _LEAST} if call.is_guess else {}
        is_whole = call.usage_status == "reported"

        def settle(cost_nanousd: int | None) -> None:
            # What has no price, or broke off, may have cost more than is known: what was reserved stays charged.
            reserved = self._again(call) if call.is_guess else _most(reservation)
            if cost_nanousd is None:
                admission.settle(reservation, unknown)
            elif is_whole or cost_nanousd > reserved:
                admission.settle(reservation, {"nanousd": cost_nanousd})
            else:
                admission.settle(reservation, {"nanousd": reserved} if call.is_guess else {})
            if is_new:
                admission.reconsider(reservation)

        if usage is None:
            admission.settle(reservation, {"nanousd": 0} if failed else unknown)
        elif not self.cost(call, usage, settle):
            admission.settle(reservation, unknown)

    def _learn(self, call: Call) -> bool:
        """Note which model answered a call; return whether that was not known."""
        is_told = call.usage is not None and call.model is not None
        if call.error is not None and not is_told:
            return False
        model = (call.provider, str(call.model)) if is_told else None
        requested = requested_by(call)
        is_new = self.answered.learn(requested, model)
        if model is not None and requested != call.template:
            self.answered.learn(call.template, model)
        return is_new

    def _again(self, call: Call) -> int:
        """Return what would have been reserved, now that it is known which model answered."""
        key = self._key_cache.keys.get(call.key)
        tariff = key.tariff if key else call.account
        tiers = self.find(tariff, call.provider, str(call.model), call.time_ns) or ()
        budgets = [limit for limit in key.limits if limit.unit == "nanousd"] if key and tiers else []
        units: list[int] = [call.estimate.units(limit, [tiers]) for limit in budgets]
        return max([_LEAST, *units])


def _most(reservation: Reservation) -> int:
    """Return the most that was reserved of one limit."""
    totals: dict[int, int] = {}
    for lease_pool, _, units in reservation.parts:
        totals[id(lease_pool)] = totals.get(id(lease_pool), 0) + units
    return max(totals.values())
