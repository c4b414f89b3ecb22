"""The prices in force, as `keygauge prices list` shows them: own ones before the public list."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

from rich.markup import escape
from rich.table import Table

from keygauge.pricing.rates import Rates
from keygauge_keyservice.database import Connection
from keygauge_keyservice.pricing import own_prices, price_terms
from keygauge_keyservice.pricing.own_prices import OwnPrice
from keygauge_keyservice.pricing.public_prices import PublicPrices


@dataclass(frozen=True)
class Entry:
    """What a model costs; None is any provider, every account, since ever."""

    source: Literal["own", "public"]
    version: str
    model: str
    provider: str | None
    account: str | None
    valid_from: datetime | None
    tiers: Sequence[Rates]


def find(
    connection: Connection, model: str | None, *, is_own: bool, has_past: bool, now: datetime | None = None
) -> list[Entry]:
    """Return the prices of the models whose name contains a text, by model, own ones first."""
    now = now or datetime.now(UTC)
    mine = own_prices.list_prices(connection)
    entries = [own(price) for price in (mine if has_past else _in_force(mine, now))]
    if not is_own:
        entries += _public(now)
    wanted = (model or "").lower()
    return sorted((entry for entry in entries if wanted in entry.model.lower()), key=lambda entry: entry.model.lower())


def own(price: OwnPrice) -> Entry:
    """Return the entry of an own price."""
    return Entry("own", price.version, price.model, price.provider, price.account_id, price.valid_from, price.tiers)


def document(entry: Entry) -> dict[str, Any]:
    """Write an entry as JSON does; rates are whole nano-USD per million tokens or calls."""
    tiers = [rates.to_json() for rates in entry.tiers]
    since = entry.valid_from and entry.valid_from.isoformat()
    return vars(entry) | {"valid_from": since, "tiers": tiers}


def table(entries: Iterable[Entry]) -> Table:
    """Write entries in US dollars, a line for each tier."""
    shown = Table("model", "provider", "source", "account", "from (UTC)", "input above")
    for name in ("input", "output", "cache read", "cache write", "reasoning", "per call"):
        shown.add_column(name, justify="right")
    shown.add_column("others")
    for entry in entries:
        since = f"{entry.valid_from.astimezone(UTC):%Y-%m-%d %H:%M}" if entry.valid_from else "-"
        names = (escape(entry.model), escape(entry.provider or "-"), entry.version, entry.account or "-", since)
        for number, rates in enumerate(entry.tiers):
            above = "-" if rates.above < 0 else f"{rates.above:,}"
            cells = (above, *_dollars(rates), price_terms.describe_details(rates))
            shown.add_row(*(names if number == 0 else [""] * len(names)), *cells)
    return shown


def _in_force(mine: Iterable[OwnPrice], now: datetime) -> Iterable[OwnPrice]:
    """Leave out what a later price has taken over from; they come newest first."""
    begun = set()
    for price in mine:
        of_whom = price.model, price.provider, price.account_id
        if of_whom not in begun:
            yield price
        if price.valid_from <= now:
            begun.add(of_whom)


def _public(now: datetime) -> Iterable[Entry]:
    public = PublicPrices()
    for provider, model, tiers in public.models_at(round(now.timestamp() * 1e6)):
        yield Entry("public", public.version, model, provider, None, None, tiers)


def _dollars(rates: Rates) -> list[str]:
    """Write rates in US dollars per million tokens, and per call."""
    kinds = (rates.input, rates.output, rates.cache_read, rates.cache_write, rates.reasoning)
    return [
        *(price_terms.plain(Decimal(rate).scaleb(-9)) for rate in kinds),
        price_terms.plain(Decimal(rates.request).scaleb(-15)),
    ]
