"""A model's rates in the format for replicas: plain numbers, with the times from which they apply."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from datetime import UTC, datetime, timedelta
from typing import Any

from keygauge.protocol import PriceName
from keygauge_keyservice.pricing.price_book import PriceBook

BEFORE = timedelta(hours=2)  # the maximum age of a call that a replica prices
AHEAD = timedelta(hours=24)  # replicas request the rates again before this time has passed
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def price_steps(book: PriceBook, name: PriceName, *, now: datetime | None = None) -> list[list[Any]]:
    """Return `[from_us, version, tiers]` by time; the first step applies to earlier times too. Empty without a price.

    Each tier is [above, input, output, cache_read, cache_write, reasoning, request, {kind: rate}]. In a step without
    tiers, there is no price.
    """
    now = now or datetime.now(UTC)
    first, last = now - BEFORE, now + AHEAD
    days = [first.date() + timedelta(days=number) for number in range((last.date() - first.date()).days + 1)]
    moments = book.changes(name.tariff, name.provider, name.model, days)
    steps: list[list[Any]] = []
    for instant in sorted({first, *(instant for instant in moments if first < instant < last)}):
        from_us = (instant - _EPOCH) // _MICROSECOND
        found = book.find_tiers(name.tariff, name.provider, name.model, from_us)
        version, tiers = found or (None, ())
        step = [from_us, version, [list(astuple(rates)) for rates in tiers]]
        if not steps or steps[-1][1:] != step[1:]:
            steps.append(step)
    return steps if any(tiers for _, _, tiers in steps) else []


def answer(book: PriceBook, names: Sequence[PriceName]) -> list[list[list[Any]]]:
    """Return the steps of each name, in order."""
    return [price_steps(book, name) for name in names]
