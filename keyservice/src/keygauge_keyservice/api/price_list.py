"""HTTP API for the prices in force: own prices and the public list, each with its source."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from flask import Blueprint, Response
from msgspec import Meta, Struct

from keygauge_keyservice.api.document.schema import Operation
from keygauge_keyservice.api.page import NumberedPage
from keygauge_keyservice.pricing import price_list
from keygauge_keyservice.pricing.price_terms import PriceTier
from keygauge_keyservice.values.field_types import Text
from keygauge_keyservice.web.bearer_auth import own_account, owners_too
from keygauge_keyservice.web.context import services
from keygauge_keyservice.web.message import answer, query

blueprint = Blueprint("api_price_list", __name__, url_prefix="/v1/prices/in-force")


class PriceListQuery(NumberedPage):
    """A query for prices."""

    model: Annotated[Text, Meta(description="only models whose name contains this")] | None = None
    source: Annotated[price_list.Source, Meta(description="only own prices, or only the public list")] | None = None
    past: Annotated[Literal["0", "1"], Meta(description="1: include replaced own prices")] = "0"


class PriceInForce(Struct):
    """A model's rates and their source; null means any provider, every account, or always."""

    source: price_list.Source
    version: str
    model: str
    provider: str | None
    account: str | None
    valid_from: datetime | None
    tiers: list[PriceTier]


class PriceList(Struct):
    """A page of prices."""

    prices: list[PriceInForce]
    next: str | None


@blueprint.get("")
@owners_too
def list_page() -> Response:
    """List current and future prices."""
    params = query(PriceListQuery)
    first = params.after or 0
    with services().connection() as connection:
        found = price_list.find(
            connection,
            services().prices.public,
            params.model,
            source=params.source,
            account_id=own_account(None),
            has_past=params.past == "1",
        )
    page = found[first : first + params.limit]
    is_last = len(found) <= first + params.limit
    entries = [vars(entry) | {"tiers": [rates.to_json() for rates in entry.tiers]} for entry in page]
    return answer(PriceList, {"prices": entries, "next": None if is_last else str(first + params.limit)})


PATHS = {
    "/v1/prices/in-force": {
        "get": Operation(
            "listPricesInForce",
            "List current and future prices by model: your own and the public list",
            query=PriceListQuery,
            answer=PriceList,
            problems=(422,),
            security="account",
        )
    }
}
