"""All prices: own prices, then the public price list."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from keygauge.pricing.rates import Rates, cost_by_kind
from keygauge_keyservice.database import Connection
from keygauge_keyservice.pricing import own_prices
from keygauge_keyservice.pricing.cost import Cost, is_metered
from keygauge_keyservice.pricing.own_prices import OwnPrice
from keygauge_keyservice.pricing.priced import Priced

if TYPE_CHECKING:
    from keygauge_keyservice.pricing.public_prices import PublicPrices

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class PriceBook:
    """A pricing function for calls; call `refresh` before each batch to pick up new own prices."""

    def __init__(self, public: PublicPrices) -> None:
        self.public = public
        self._state = (0, 0)
        self._own: dict[str, list[OwnPrice]] = {}

    def refresh(self, connection: Connection) -> None:
        """Load the own prices if they have changed."""
        with connection.pipeline(), connection.transaction():  # fewer round trips
            state = own_prices.find_state(connection)
            if state == self._state:
                return
            own: dict[str, list[OwnPrice]] = {}
            for price in own_prices.list_prices(connection):
                own.setdefault(price.model, []).append(price)
        # By precedence: prices for one account first, then those for one provider, then the latest.
        self._own = {model: sorted(listed, key=_rank, reverse=True) for model, listed in own.items()}
        self._state = state

    def __call__(self, event: Priced) -> Cost | None:
        """Return the cost of a call; None if its model, its usage or its price is unknown."""
        if self._own and event.model is not None and is_metered(event):
            own = self.find_own(event.account, event.provider, event.model, event.time_us)
            if own is not None:
                costs = cost_by_kind(own.tiers, event)
                return None if costs is None else Cost.of_kinds(costs, own.version)
        return self.public(event)

    @property
    def state(self) -> str:
        """A version of all prices, which changes whenever one of them may have changed."""
        count, newest = self._state
        return f"{count}.{newest}.{self.public.version}"

    def find_own(self, account_id: str | None, provider: str | None, model: str, time_us: int) -> OwnPrice | None:
        """Return the own price that applies to a call, or None."""
        instant = _EPOCH + timedelta(microseconds=time_us)
        return next((price for price in self._own_of(account_id, provider, model) if price.valid_from <= instant), None)

    def find_tiers(
        self, account_id: str | None, provider: str | None, model: str, time_us: int
    ) -> tuple[str, Sequence[Rates]] | None:
        """Return the version and the rates of a model for an account at a time; None if they are unknown."""
        if own := self.find_own(account_id, provider, model, time_us):
            return own.version, own.tiers
        tiers = self.public.tiers_at(provider, model, time_us)
        return (self.public.version, tiers) if tiers else None

    def changes(self, account_id: str | None, provider: str | None, model: str, days: Sequence[date]) -> set[datetime]:
        """Return the times at which a model's rates for an account may change; complete only for the given days."""
        own = {price.valid_from for price in self._own_of(account_id, provider, model)}
        return own | set(self.public.changes(provider, model, days))

    def _own_of(self, account_id: str | None, provider: str | None, model: str) -> list[OwnPrice]:
        """Return the own prices that may apply; if the provider is unknown, prices for one provider are a fallback."""
        name = provider.lower() if provider else None
        listed = [price for price in self._own.get(model.lower(), ()) if price.account_id in {None, account_id}]
        return [price for price in listed if price.provider in {None, name}] or ([] if name else listed)


def load() -> PriceBook:
    """Return the book of all prices."""
    from keygauge_keyservice.pricing.public_prices import PublicPrices  # noqa: PLC0415 - slow, and few commands need it

    return PriceBook(PublicPrices())


def _rank(price: OwnPrice) -> tuple[bool, bool, datetime, int]:
    return price.account_id is not None, price.provider is not None, price.valid_from, price.id
