"""HTTP API for own prices: list and set them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from flask import Blueprint, Response
from msgspec import Meta, Struct

from keygauge_keyservice.api.document.schema import Operation
from keygauge_keyservice.api.page import NumberedPage, next_of
from keygauge_keyservice.pricing import own_prices
from keygauge_keyservice.pricing.own_prices import OwnPrice
from keygauge_keyservice.pricing.price_terms import NewPrice, PriceTier
from keygauge_keyservice.values.field_types import Text
from keygauge_keyservice.web.bearer_auth import actor, operator_only
from keygauge_keyservice.web.context import services
from keygauge_keyservice.web.idempotency import idempotent
from keygauge_keyservice.web.message import answer, body, query

blueprint = Blueprint("api_prices", __name__, url_prefix="/v1/prices")


class Price(Struct):
    """A model's rates from a given time on."""

    version: str
    model: str
    provider: str | None
    account: str | None
    valid_from: datetime
    tiers: list[PriceTier]
    created_at: datetime


class PriceQuery(NumberedPage):
    """A query for prices."""

    model: Annotated[Text, Meta(description="only prices of this model")] | None = None
    account: Annotated[Text, Meta(description="only this account's own prices")] | None = None


class PricePage(Struct):
    """A page of prices."""

    prices: list[Price]
    next: str | None


@blueprint.get("")
@operator_only
def list_page() -> Response:
    """List own prices."""
    params = query(PriceQuery)
    with services().connection() as connection:
        found = own_prices.list_prices(
            connection, model=params.model, account_id=params.account, after=params.after, limit=params.limit
        )
    return answer(PricePage, {"prices": [_document(price) for price in found], "next": next_of(found, params.limit)})


@blueprint.post("")
@operator_only
@idempotent
def add() -> Response:
    """Set a price."""
    given = body(NewPrice)
    with services().connection() as connection:
        price = own_prices.set_price(
            connection,
            model=given.model,
            tiers=given.rates(),
            valid_from=given.valid_from or datetime.now(UTC),
            provider=given.provider,
            account_id=given.account,
            actor=actor(),
        )
    return answer(Price, _document(price), 201)


def _document(price: OwnPrice) -> dict[str, object]:
    tiers = [rates.to_json() for rates in price.tiers]
    return vars(price) | {"version": price.version, "account": price.account_id, "tiers": tiers}


PATHS = {
    "/v1/prices": {
        "get": Operation(
            "listPrices",
            "List own prices by model, newest first",
            query=PriceQuery,
            answer=PricePage,
            problems=(422,),
        ),
        "post": Operation(
            "setPrice",
            "Set a model's price from a given time on; calls already in the ledger keep theirs until re-rated",
            body=NewPrice,
            answer=Price,
            status=201,
            problems=(404,),
        ),
    }
}
