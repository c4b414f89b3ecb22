"""Models without a price: they used tokens, cost nothing, and have no price, not even a zero one."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Unpack

from keygauge_keyservice.database import Connection
from keygauge_keyservice.usage import usage
from keygauge_keyservice.usage.sums import UsageSums
from keygauge_keyservice.usage.usage import Part, Selection
from keygauge_keyservice.web.context import services

_MODELS_MAX = 100  # those with the most tokens


def find(connection: Connection, totals: UsageSums, **selection: Unpack[Selection]) -> list[str]:
    """Return the models without a price among calls that cost nothing in `totals`, "" for calls without a model."""
    if not is_free(totals):
        return []
    parts = usage.top(connection, by="model", most=_MODELS_MAX, order="tokens", **selection).parts
    return among(connection, selection["account_id"], parts)


def among(connection: Connection, account_id: str | None, models: Iterable[Part]) -> list[str]:
    """Return those of some models that have no price."""
    free = [part.group for part in models if is_free(part)]
    if not free:
        return []
    book, now_us = services().prices, int(datetime.now(UTC).timestamp() * 1_000_000)
    book.refresh(connection)
    return [model for model in free if not (model and book.find_tiers(account_id, None, model, now_us))]


def is_free(sums: UsageSums) -> bool:
    """Return whether tokens were used and nothing was charged."""
    return sums.tokens > 0 and sums.cost_nanousd == 0
