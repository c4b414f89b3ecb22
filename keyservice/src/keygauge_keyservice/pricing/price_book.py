"""All prices: the own ones first, then the public list."""

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
    """Prices calls; `refresh` before a batch, so that an own price set anywhere holds for it."""

    def __init__(self, public: PublicPrices) -> None:
        self.public = public
        self._state = (0, 0)
        self._own: dict[str, list[OwnPrice]] = {}

    def refresh(self, connection: Connection) -> None:
        """Read the own prices where they changed."""
        with connection.pipeline(), connection.transaction():  # fewer waits
            state = own_prices.find_state(connection)
            if state == self._state:
                return
            own: dict[str, list[OwnPrice]] = {}
            for price in own_prices.list_prices(connection):
                own.setdefault(price.model, []).append(price)
        # Whose comes first: an account's own, then a provider's, then the latest.
        self._own = {model: sorted(listed, key=_rank, reverse=True) for model, listed in own.items()}
        self._state = state

    def __call__(self, event: Priced) -> Cost | None:
        """Price one call; None when the model or its tokens are not known."""
        if self._own and event.model is not None and is_metered(event):
            own = self.find_own(event.account, event.provider, event.model, event.time_us)
            if own is not None:
                costs = cost_by_kind(own.tiers, event)
                return None if costs is None else Cost.of_kinds(costs, own.version)
        return self.public(event)

    @property
    def state(self) -> str:
        """Name what the prices rest on: it changes whenever one of them may have."""
        count, newest = self._state
        return f"{count}.{newest}.{self.public.version}"

    def find_own(self, account_id: str | None, provider: str | None, model: str, time_us: int) -> OwnPrice | None:
        """Return the own price that holds for a call, or None."""
        moment = _EPOCH + timedelta(microseconds=time_us)
        return next((price for price in self._own_of(account_id, provider, model) if price.valid_from <= moment), None)

    def find_tiers(
        self, account_id: str | None, provider: str | None, model: str, time_us: int
    ) -> tuple[str, Sequence[Rates]] | None:
        """Return the version and the rates of a model for an account at a moment; None where they are not known."""
        if own := self.find_own(account_id, provider, model, time_us):
            return own.version, own.tiers
        tiers = self.public.tiers_at(provider, model, time_us)
        return (self.public.version, tiers) if tiers else None

    def changes(self, account_id: str | None, provider: str | None, model: str, days: Sequence[date]) -> set[datetime]:
        """Return the moments at which a model's rates for an account may change; those of other days may lack."""
        own = {price.valid_from for price in self._own_of(account_id, provider, model)}
        return own | set(self.public.changes(provider, model, days))

    def _own_of(self, account_id: str | None, provider: str | None, model: str) -> list[OwnPrice]:
        """Return those that may hold; one for a single provider too, where nobody knows yet who will answer."""
        name = provider.lower() if provider else None
        listed = [price for price in self._own.get(model.lower(), ()) if price.account_id in {None, account_id}]
        return [price for price in listed if price.provider in {None, name}] or ([] if name else listed)


def load() -> PriceBook:
    """Make the book of all prices; the public list takes a while to load, which most commands need not wait for."""
    from keygauge_keyservice.pricing.public_prices import PublicPrices  # noqa: PLC0415 - as above

    return PriceBook(PublicPrices())


def _rank(price: OwnPrice) -> tuple[bool, bool, datetime, int]:
    return price.account_id is not None, price.provider is not None, price.valid_from, price.id
