"""HTTP API for usage grouped in several ways with one request."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, cast

from flask import Blueprint, Response
from msgspec import Meta, Struct, field

from keygauge_keyservice.accounts import accounts
from keygauge_keyservice.api.document.schema import Operation
from keygauge_keyservice.api.usage import Groups, Quota, UsageGroup, UsageTotals, figures, group_names
from keygauge_keyservice.usage import usage
from keygauge_keyservice.usage.live_rates import LiveRates, find_live_rates
from keygauge_keyservice.usage.query import Grouping
from keygauge_keyservice.usage.quota import find_quotas
from keygauge_keyservice.values.field_types import Text, Time
from keygauge_keyservice.web.bearer_auth import own_account, owners_too
from keygauge_keyservice.web.context import services
from keygauge_keyservice.web.message import answer, body

blueprint = Blueprint("api_usage_query", __name__, url_prefix="/v1/usage/query")

GROUPS_MAX = 10
_RANGE = timedelta(days=30)  # if no start is given


class UsageQuestion(Struct):
    """The calls to sum up, and the ways to group them."""

    groups: Annotated[list[Groups], Meta(max_length=GROUPS_MAX, examples=[["model", "key,status"]])]
    account: Text | None = None
    key: Text | None = None
    route: Text | None = None
    model: Text | None = None
    tag: Annotated[Text, Meta(description="only calls for this end user")] | None = None
    start: Annotated[Time, Meta(description="default: 30 days before `to`")] | None = field(name="from", default=None)
    end: Annotated[Time, Meta(description="default: now")] | None = field(name="to", default=None)


class UsageResult(Struct):
    """The groups of one grouping."""

    group_by: str
    groups: list[UsageGroup]


class UsageAnswer(Struct):
    """Usage by each grouping, quotas and rates; `from` and `to` are the range used."""

    account: str | None
    start: datetime = field(name="from")
    end: datetime = field(name="to")
    totals: UsageTotals
    results: list[UsageResult]
    quotas: list[Quota]
    pace: LiveRates | None


@blueprint.post("")
@owners_too
def read() -> Response:
    """Return the totals, and the groups of each grouping."""
    given = body(UsageQuestion)
    end, account_id = given.end or datetime.now(UTC), own_account(given.account)
    selection = usage.Selection(
        account_id=account_id,
        start=given.start or end - _RANGE,
        end=end,
        key_id=given.key,
        route=given.route,
        model=given.model,
        tag=given.tag,
    )
    with services().connection() as connection:
        if account_id is not None:
            accounts.require(connection, account_id)
        totals = usage.totals(connection, **selection)
        found = [(by, usage.breakdown(connection, by=_dimensions(by), **selection)) for by in given.groups]
        quotas = find_quotas(connection, account_id, key_id=given.key) if account_id else []
        pace = find_live_rates(connection, account_id, key_id=given.key) if account_id else None
    results = [
        {"group_by": by, "groups": [{**group_names(_dimensions(by), part), **figures(part)} for part in parts]}
        for by, parts in found
    ]
    content = {
        "account": account_id,
        "from": totals.start,
        "to": totals.end,
        "totals": totals,
        "results": results,
        "quotas": quotas,
        "pace": pace,
    }
    return answer(UsageAnswer, content)


def _dimensions(text: str) -> tuple[Grouping, ...]:
    return cast("tuple[Grouping, ...]", tuple(text.split(",")))


PATHS = {
    "/v1/usage/query": {
        "post": Operation(
            "queryUsage",
            "Query usage grouped in several ways at once: each item of `groups` is one or more dimensions, separated "
            "by commas",
            body=UsageQuestion,
            answer=UsageAnswer,
            problems=(404, 422),
            security="account",
        )
    }
}
