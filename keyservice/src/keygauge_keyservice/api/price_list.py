"""The prices in force over HTTP: own ones and the public list, each with its source."""

from __future__ import annotations

from typing import Any, get_args

from flask import Blueprint

from keygauge_keyservice.api.schema import PAGE, TEXT, TIME, array, enum, nullable, obj, operation, query, ref
from keygauge_keyservice.ledger.event import TEXT_LENGTH_MAX
from keygauge_keyservice.pricing import price_list
from keygauge_keyservice.web import fields
from keygauge_keyservice.web.bearer_auth import operator_only
from keygauge_keyservice.web.context import services

blueprint = Blueprint("api_price_list", __name__, url_prefix="/v1/prices/in-force")


@blueprint.get("")
@operator_only
def list_page() -> dict[str, Any]:
    """List the prices in force and those to come."""
    after, limit = fields.page()
    first = fields.number_after(after) or 0
    given = fields.filters()
    model = given.text("model", length_max=TEXT_LENGTH_MAX)
    source = given.choice("source", get_args(price_list.Source), nullable=True)
    past = given.choice("past", ("0", "1"), default="0")
    given.check()
    with services().connection() as connection:
        found = price_list.find(connection, model, source=source, has_past=past == "1")
    page = found[first : first + limit]
    return {
        "prices": [price_list.document(entry) for entry in page],
        "next": str(first + limit) if len(found) > first + limit else None,
    }


_SOURCE = enum(*get_args(price_list.Source))

SCHEMAS = {
    "PriceInForce": obj(
        {
            "source": _SOURCE,
            "version": TEXT,
            "model": TEXT,
            **dict.fromkeys(("provider", "account"), nullable(TEXT)),
            "valid_from": nullable(TIME),
            "tiers": array(ref("PriceTier")),
        }
    )
}

PATHS = {
    "/v1/prices/in-force": {
        "get": operation(
            "listPricesInForce",
            "List the prices in force and those to come by model: own ones, and the public list",
            parameters=[
                query("model", TEXT, "only models whose name contains this"),
                query("source", _SOURCE, "only own prices, or only the public list"),
                query("past", enum("0", "1"), "1: own prices that others have taken over from, too"),
                *PAGE,
            ],
            answer=obj({"prices": array(ref("PriceInForce")), "next": nullable(TEXT)}),
            problems=(422,),
        )
    }
}
