"""Own prices over HTTP: list them, and set one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flask import Blueprint

from keygauge.kinds import BY_ONE, PART_OF
from keygauge_keyservice.api.schema import INTEGER, NAME, PAGE, TEXT, TIME, array, nullable, obj, operation, ref
from keygauge_keyservice.ledger.event import TEXT_LENGTH_MAX
from keygauge_keyservice.pricing import own_prices
from keygauge_keyservice.pricing.own_prices import OwnPrice
from keygauge_keyservice.pricing.price_terms import ABOVE_MAX, RATE_MAX, REQUEST_RATE_MAX, TIERS_MAX, read_tiers
from keygauge_keyservice.web import fields
from keygauge_keyservice.web.bearer_auth import actor, operator_only
from keygauge_keyservice.web.context import services
from keygauge_keyservice.web.idempotency import idempotent

blueprint = Blueprint("api_prices", __name__, url_prefix="/v1/prices")


@blueprint.get("")
@operator_only
def list_page() -> dict[str, Any]:
    """List own prices."""
    after, limit = fields.page()
    after_id = fields.number_after(after)
    with services().connection() as connection:
        found = own_prices.list_prices(connection, after=after_id, limit=limit)
    return {
        "prices": [_document(price) for price in found],
        "next": str(found[-1].id) if len(found) == limit else None,
    }


@blueprint.post("")
@operator_only
@idempotent
def add() -> tuple[dict[str, Any], int]:
    """Set a price."""
    given = fields.body()
    model, tiers = given.name("model"), read_tiers(given)
    provider = given.text("provider", length_max=TEXT_LENGTH_MAX)
    account_id = given.text("account", length_max=TEXT_LENGTH_MAX)
    valid_from = given.time("valid_from") or datetime.now(UTC)
    given.check()
    with services().connection() as connection:
        price = own_prices.set_price(
            connection,
            model=model,
            tiers=tiers,
            valid_from=valid_from,
            provider=provider,
            account_id=account_id,
            actor=actor(),
        )
    return _document(price), 201


def _document(price: OwnPrice) -> dict[str, Any]:
    return {
        "version": price.version,
        "model": price.model,
        "provider": price.provider,
        "account": price.account_id,
        "valid_from": price.valid_from.isoformat(),
        "tiers": [rates.to_json() for rates in price.tiers],
        "created_at": price.created_at.isoformat(),
    }


_ABOVE = nullable({**INTEGER, "minimum": 0, "maximum": ABOVE_MAX})
_RATE = {**INTEGER, "minimum": 0, "maximum": RATE_MAX, "description": "whole nano-USD per million tokens"}
_REQUEST = {**INTEGER, "minimum": 0, "maximum": REQUEST_RATE_MAX, "description": "whole nano-USD per million calls"}
_RATES = {**dict.fromkeys(("input", "output", "cache_read", "cache_write", "reasoning"), _RATE), "request": _REQUEST}
_PIECE = {**_REQUEST, "description": "whole nano-USD per million"}
_DETAILS = {kind: _PIECE if kind in BY_ONE else _RATE for kind in PART_OF}  # only those that the price has

SCHEMAS = {
    "PriceTier": obj({"above": _ABOVE, **_RATES}, _DETAILS),
    "GivenPriceTier": obj(
        {}, {"above": _ABOVE, **{name: nullable(rate) for name, rate in (_RATES | _DETAILS).items()}}
    ),
    "Price": obj(
        {
            "version": TEXT,
            "model": TEXT,
            "provider": nullable(TEXT),
            "account": nullable(TEXT),
            "valid_from": TIME,
            "tiers": array(ref("PriceTier")),
            "created_at": TIME,
        }
    ),
}

PATHS = {
    "/v1/prices": {
        "get": operation(
            "listPrices",
            "List own prices by model, the newest first",
            parameters=PAGE,
            answer=obj({"prices": array(ref("Price")), "next": nullable(TEXT)}),
            problems=(422,),
        ),
        "post": operation(
            "setPrice",
            "Set a model's price from a moment on; calls that are in the ledger already keep theirs until re-rated",
            body=obj(
                {
                    "model": NAME,
                    "tiers": {**array(ref("GivenPriceTier")), "minItems": 1, "maxItems": TIERS_MAX},
                },
                {"provider": nullable(TEXT), "account": nullable(TEXT), "valid_from": nullable(TIME)},
            ),
            answer=ref("Price"),
            status=201,
            problems=(404, 422),
        ),
    }
}
