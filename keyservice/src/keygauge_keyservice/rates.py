"""The rate card: an account's prices as plain numbers, for replicas that count cost without a price list."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import astuple
from typing import TypeAlias, TypedDict

from keygauge_keyservice.database import Connection
from keygauge_keyservice.price_book import PriceBook
from keygauge_keyservice.pricing import PublicPrices


class CardLine(TypedDict):
    """One model's rates, by input size, smallest first.

    Each tier is [above, input, output, cache_read, cache_write, reasoning, request]: it holds for calls with more than
    `above` input tokens; the others are whole nano-USD per million tokens, or calls.
    """

    model: str
    version: str
    tiers: list[list[int]]


Card: TypeAlias = dict[str, list[CardLine]]

_USED_MODELS = """/* rates.models */
SELECT DISTINCT account_id, part AS model FROM margin
WHERE account_id = ANY(%s) AND length_s = 604800 AND breakdown = 'model' AND inside = '' AND part <> ''
AND bucket >= now() - interval '60 days'"""


def card(connection: Connection, account_ids: Iterable[str], *, now_s: float | None = None) -> Card:
    """Return by account the rates of the models it used lately and of those that have an own price for it.

    Models are named as answers name them; one without a known price is left out. Prices that hold for one provider only
    are left out too: the ledger has the last word.
    """
    wanted = list(account_ids)
    book = PriceBook(PublicPrices())
    book.refresh(connection)
    models = {account_id: book.own_models(account_id) for account_id in wanted}
    for row in connection.execute(_USED_MODELS, (wanted,)):
        models[row["account_id"]].add(row["model"])
    now_us = int((time.time() if now_s is None else now_s) * 1_000_000)
    return {
        account_id: [
            CardLine(model=model, version=found[0], tiers=[list(astuple(rates)) for rates in found[1]])
            for model in sorted(names)
            if (found := book.find_tiers(account_id, model, now_us))
        ]
        for account_id, names in models.items()
    }
