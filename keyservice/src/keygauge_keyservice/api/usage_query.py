"""Usage told apart in several ways at once: one question instead of one for each."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, cast, get_args

from flask import Blueprint

from keygauge_keyservice.accounts import accounts
from keygauge_keyservice.api.schema import TEXT, TIME, array, enum, nullable, obj, operation, ref
from keygauge_keyservice.api.usage import figures, group_document, quota_document
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.fields import Fields
from keygauge_keyservice.ledger.event import TEXT_LENGTH_MAX
from keygauge_keyservice.usage import usage
from keygauge_keyservice.usage.query import Grouping
from keygauge_keyservice.usage.quota import find_quotas
from keygauge_keyservice.web import fields
from keygauge_keyservice.web.bearer_auth import operator_only
from keygauge_keyservice.web.context import services

blueprint = Blueprint("api_usage_query", __name__, url_prefix="/v1/usage/query")

GROUPS_MAX = 10
_RANGE = timedelta(days=30)  # when no start is given


@blueprint.post("")
@operator_only
def read() -> dict[str, Any]:
    """Answer with the totals, and the groups of each way to tell them apart."""
    given = fields.body()
    selection = _selection(given)
    groups = given.lists("groups", get_args(Grouping), most=GROUPS_MAX)
    given.check()
    account_id = selection["account_id"]
    with services().connection() as connection:
        if account_id is not None:
            accounts.require(connection, account_id)
        try:
            totals = usage.totals(connection, **selection)
            found = [
                (by, usage.breakdown(connection, by=cast("tuple[Grouping, ...]", by), **selection)) for by in groups
            ]
        except usage.UsageError as error:
            raise Problem(422, "invalid", str(error)) from error
        quotas = find_quotas(connection, account_id) if account_id else []
    return {
        "account": account_id,
        "from": totals.start.isoformat(),
        "to": totals.end.isoformat(),
        "totals": figures(totals)
        | {"requests_per_minute": totals.requests_per_minute, "tokens_per_minute": totals.tokens_per_minute},
        "results": [
            {
                "group_by": list(by),
                "groups": [
                    {**group_document(cast("tuple[Grouping, ...]", by), part), **figures(part)} for part in parts
                ],
            }
            for by, parts in found
        ],
        "quotas": [quota_document(quota) for quota in quotas],
    }


def _selection(given: Fields) -> usage.Selection:
    end = given.time("to") or datetime.now(UTC)
    return usage.Selection(
        account_id=given.text("account", length_max=TEXT_LENGTH_MAX),
        start=given.time("from") or end - _RANGE,
        end=end,
        key_id=given.text("key", length_max=TEXT_LENGTH_MAX),
        route=given.text("route", length_max=TEXT_LENGTH_MAX),
        model=given.text("model", length_max=TEXT_LENGTH_MAX),
    )


_BY = {**array(enum(*get_args(Grouping))), "minItems": 1, "uniqueItems": True}
_TEXT = nullable(TEXT)

SCHEMAS = {
    "UsageResult": obj({"group_by": array(enum(*get_args(Grouping))), "groups": array(ref("UsageGroup"))}),
}

PATHS = {
    "/v1/usage/query": {
        "post": operation(
            "queryUsage",
            "Usage told apart in several ways at once: each item of `groups` is one or more dimensions",
            body=obj(
                {"groups": {**array(_BY), "maxItems": GROUPS_MAX}},
                {
                    "account": _TEXT,
                    "from": {**nullable(TIME), "description": "30 days before `to` where it is absent"},
                    "to": {**nullable(TIME), "description": "now where it is absent"},
                    **dict.fromkeys(("key", "route", "model"), _TEXT),
                },
            ),
            answer=obj(
                {
                    "account": _TEXT,
                    "from": TIME,
                    "to": TIME,
                    "totals": ref("UsageTotals"),
                    "results": array(ref("UsageResult")),
                    "quotas": array(ref("Quota")),
                }
            ),
            problems=(404, 422),
        )
    }
}
