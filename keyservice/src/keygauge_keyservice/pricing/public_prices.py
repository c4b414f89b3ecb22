"""The public price list of genai-prices, converted to rates.

The cost of a model that is not in the list is unknown, not 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from functools import cached_property, lru_cache
from importlib.metadata import version
from typing import TypeAlias

from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import (
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    StartDateConstraint,
    TieredPrices,
    TimeOfDateConstraint,
)

from keygauge.pricing.rates import Rates, cost_by_kind
from keygauge_keyservice.pricing.cost import Cost, is_metered
from keygauge_keyservice.pricing.priced import Priced
from keygauge_keyservice.pricing.public_models import find_model

_NANOUSD = 10**9
_MILLION = 10**6
_MODELS_MAX = 4096  # cached pairs of provider and model, including unknown ones


Constraint: TypeAlias = StartDateConstraint | TimeOfDateConstraint
Schedule: TypeAlias = Sequence[tuple[Constraint | None, Sequence[Rates]]]
"""A model's prices: a constraint (None: always) and rates by input size. The last match in each sequence applies."""


class PublicPrices:
    """The price list of genai-prices, with a cache of resolved models."""

    def __init__(self, *, models_max: int = _MODELS_MAX) -> None:
        get_snapshot()  # slow the first time, so not during a heartbeat
        self.version = f"genai-prices {version('genai-prices')}"
        # Not genai-prices' own lookup, whose caches grow without bound.
        self._find = lru_cache(models_max)(_find_schedule)

    def __call__(self, event: Priced) -> Cost | None:
        """Return the cost of a call; None if its model, its usage or its price is unknown."""
        if event.model is None or not is_metered(event):
            return None
        tiers = self.tiers_at(event.provider, event.model, event.time_us)
        costs = cost_by_kind(tiers, event) if tiers else None
        return None if costs is None else Cost.of_kinds(costs, self.version)

    def tiers_at(self, provider: str | None, model: str, time_us: int) -> Sequence[Rates]:
        """Return a model's rates at a time by input size, smallest first; empty if they are unknown."""
        return _tiers_at(self._find(provider, model), time_us)

    def models_at(self, time_us: int) -> Iterator[tuple[str, str, Sequence[Rates]]]:
        """Yield the provider, name and rates at a time of each model that has rates.

        The rates are those of the list. Calls with that very name may match another model, as some names are patterns.
        """
        for provider, model, schedule in self._schedules:
            if tiers := _tiers_at(schedule, time_us):
                yield provider, model, tiers

    @cached_property
    def _schedules(self) -> Sequence[tuple[str, str, Schedule]]:
        """All models with their providers and prices; a quarter of a second the first time."""
        return [
            (provider.id, model.id, _schedule(model))
            for provider in get_snapshot().providers
            for model in provider.models
        ]

    def changes(self, provider: str | None, model: str, days: Sequence[date]) -> Iterator[datetime]:
        """Yield the times at which a model's rates may change: start dates, and times of day on the given UTC days."""
        for constraint, _ in self._find(provider, model):
            if isinstance(constraint, StartDateConstraint):
                yield datetime.combine(constraint.start_date, time(), UTC)
            elif constraint is not None:
                for day in days:
                    yield _combine(day, constraint.start_time)
                    yield _combine(day, constraint.end_time)


def _combine(day: date, at: time) -> datetime:
    return datetime.combine(day, at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)


def _find_schedule(provider_name: str | None, model_name: str) -> Schedule:
    model = find_model(provider_name, model_name)
    return () if model is None else _schedule(model)


def _schedule(model: ModelInfo) -> Schedule:
    prices = model.prices if isinstance(model.prices, list) else [ConditionalPrice(prices=model.prices)]
    schedule = [(price.constraint, _tiers(price.prices)) for price in prices]
    return schedule if all(tiers for _, tiers in schedule) else ()


def _tiers_at(schedule: Schedule, time_us: int) -> Sequence[Rates]:
    if len(schedule) <= 1:
        return schedule[0][1] if schedule else ()
    instant = datetime.fromtimestamp(time_us / _MILLION, UTC)
    return next((tiers for when, tiers in reversed(schedule) if when is None or when.active(instant)), schedule[0][1])


def _tiers(price: ModelPrice) -> list[Rates]:
    """Convert a model's prices to rates, smallest input first; empty if it has no price for anything we count."""
    if price.input_mtok is None and price.output_mtok is None and not _details(price, -1):
        return []
    starts = {tier.start for value in vars(price).values() if isinstance(value, TieredPrices) for tier in value.tiers}
    return [_rates(price, above) for above in (-1, *sorted(starts))]


def _rates(price: ModelPrice, above: int) -> Rates:
    # A kind of token without its own price gets the price of the kind it is part of.
    input_rate, output_rate = _rate(price.input_mtok, above, 0), _rate(price.output_mtok, above, 0)
    return Rates(
        above=above,
        input=input_rate,
        output=output_rate,
        cache_read=_rate(price.cache_read_mtok, above, input_rate),
        cache_write=_rate(price.cache_write_mtok, above, input_rate),
        reasoning=_rate(price.output_reasoning_mtok, above, output_rate),
        request=_rate(price.requests_kcount, above, 0) * 1000,
        details=_details(price, above),
    )


_DETAILS: Sequence[tuple[str, str, Fraction]] = (  # kind, field in the list, factor to convert to a price per million
    ("input_audio", "input_audio_mtok", Fraction(1)),
    ("input_image", "input_image_mtok", Fraction(1)),
    ("input_video", "input_video_mtok", Fraction(1)),
    ("cache_read_audio", "cache_audio_read_mtok", Fraction(1)),
    ("cache_read_image", "cache_image_read_mtok", Fraction(1)),
    ("cache_write_1h", "cache_write_1h_mtok", Fraction(1)),
    ("output_audio", "output_audio_mtok", Fraction(1)),
    ("output_image", "output_image_mtok", Fraction(1)),
    ("output_video", "output_video_mtok", Fraction(1)),
    ("web_searches", "web_searches_kcount", Fraction(1000)),
    ("citations", "output_citation_mtok", Fraction(1)),
    ("file_searches", "storage_searches_kcount", Fraction(1000)),
    ("seconds", "audio_hours", Fraction(_MILLION, 3600)),
    ("seconds", "input_audio_hours", Fraction(_MILLION, 3600)),
    ("characters", "input_mchars", Fraction(1)),
    ("pages", "input_document_kpages", Fraction(1000)),
)


def _details(price: ModelPrice, above: int) -> dict[str, int]:
    return {
        kind: round(_rate(value, above, 0) * times)
        for kind, name, times in _DETAILS
        if (value := getattr(price, name)) is not None
    }


def _rate(price: Decimal | TieredPrices | None, above: int, default: int) -> int:
    if price is None:
        return default
    if isinstance(price, TieredPrices):
        price = next((tier.price for tier in reversed(price.tiers) if tier.start <= above), price.base)
    return int((price * _NANOUSD).quantize(Decimal(1), ROUND_HALF_UP))
