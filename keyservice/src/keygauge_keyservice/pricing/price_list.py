"""The list of prices: own prices first, then the public price list."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from keygauge.pricing.rates import Rates
from keygauge_keyservice.database import Connection
from keygauge_keyservice.pricing import own_prices
from keygauge_keyservice.pricing.own_prices import OwnPrice

if TYPE_CHECKING:
    from keygauge_keyservice.pricing.public_prices import PublicPrices

Source = Literal["own", "public"]


@dataclass(frozen=True)
class Entry:
    """The price of a model; None means any provider, every account, or always valid."""

    source: Source
    version: str
    model: str
    provider: str | None
    account: str | None
    valid_from: datetime | None
    tiers: Sequence[Rates]


def find(
    connection: Connection,
    public: PublicPrices,
    model: str | None = None,
    *,
    source: Source | None = None,
    account_id: str | None = None,
    has_past: bool = False,
    now: datetime | None = None,
) -> list[Entry]:
    """Return the prices of the models whose name contains `model`, by model, own prices first.

    With `account_id`, only prices that apply to this account. `has_past` includes superseded own prices.
    """
    now = now or datetime.now(UTC)
    theirs = [*_public(public, now)] if source != "own" else []  # first, as it may take a second without a transaction
    mine = own_prices.list_prices(connection) if source != "public" else []
    if account_id is not None:
        mine = [price for price in mine if price.account_id in {None, account_id}]
    entries = [*(_own(price) for price in (mine if has_past else _in_force(mine, now))), *theirs]
    wanted = (model or "").lower()
    return sorted((entry for entry in entries if wanted in entry.model.lower()), key=lambda entry: entry.model.lower())


def _own(price: OwnPrice) -> Entry:
    return Entry("own", price.version, price.model, price.provider, price.account_id, price.valid_from, price.tiers)


def _in_force(mine: Iterable[OwnPrice], now: datetime) -> Iterable[OwnPrice]:
    """Yield prices that are in force or in the future, from a list with the newest first."""
    begun = set()
    for price in mine:
        of_whom = price.model, price.provider, price.account_id
        if of_whom not in begun:
            yield price
        if price.valid_from <= now:
            begun.add(of_whom)


def _public(public: PublicPrices, now: datetime) -> Iterable[Entry]:
    for provider, model, tiers in public.models_at(round(now.timestamp() * 1e6)):
        yield Entry("public", public.version, model, provider, None, None, tiers)
