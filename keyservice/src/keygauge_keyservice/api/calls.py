"""HTTP API for the call log: filtered and paginated, or complete as CSV."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Annotated

from flask import Blueprint, Response
from msgspec import Meta, Struct

from keygauge_keyservice.accounts import accounts
from keygauge_keyservice.api.document.schema import Operation
from keygauge_keyservice.api.page import After, Size
from keygauge_keyservice.api.selection import CallSelection
from keygauge_keyservice.csv_stream import usd, write_csv
from keygauge_keyservice.errors import FieldError, invalid
from keygauge_keyservice.usage import call_log
from keygauge_keyservice.usage.call_log import CallFilter, LoggedCall
from keygauge_keyservice.usage.usage import quarters
from keygauge_keyservice.values.field_types import Text
from keygauge_keyservice.web.bearer_auth import own_account, owners_too
from keygauge_keyservice.web.context import services
from keygauge_keyservice.web.message import answer, query

blueprint = Blueprint("api_calls", __name__, url_prefix="/v1/calls")

_NAMES = [name.name for name in fields(LoggedCall)]


class CallQuery(CallSelection, kw_only=True):
    """A query for calls."""

    account: Annotated[Text, Meta(description="the account; not needed with the account's own token")] | None = None
    status: Annotated[Text, Meta(description="a status such as 429, or a class such as 4xx")] | None = None
    ip: Annotated[Text, Meta(description="only calls from this address")] | None = None
    sort: Annotated[call_log.Sort, Meta(description="sort order; prefix with - for newest first")] = "-time"
    after: After | None = None
    limit: Size = 100


class CallPage(Struct):
    """A page of calls."""

    calls: list[LoggedCall]
    next: str | None


@blueprint.get("")
@owners_too
def list_page() -> Response:
    """List a page of an account's calls, or export all of them as CSV."""
    given = query(CallQuery)
    start, end = given.range()
    account_id = own_account(given.account)
    if account_id is None:
        raise invalid(FieldError("account", "missing", "is required"))
    chosen = CallFilter(
        account_id=account_id,
        start=start,
        end=end,
        key_id=given.key,
        route=given.route,
        model=given.model,
        tag=given.tag,
        status=given.status,
        ip=given.ip,
        is_partial=False,
    )
    is_csv = given.format == "csv"
    quarters(start, end)
    after = call_log.Place.parse(given.after) if given.after else None
    with services().connection() as connection:
        accounts.require(connection, account_id)
        found = call_log.find_page(
            connection, sort=given.sort, after=after, limit=1 if is_csv else given.limit, **chosen
        )
    if is_csv:
        return _csv(call_log.read_all(services().connection, sort=given.sort, **chosen))
    return answer(CallPage, {"calls": found.calls, "next": str(found.next) if found.next else None})


def _csv(found: Iterator[LoggedCall]) -> Response:
    rows = ([usd(value) if name == "cost_nanousd" else value for name, value in vars(call).items()] for call in found)
    names = ["cost_usd" if name == "cost_nanousd" else name for name in _NAMES]
    return Response(
        write_csv(names, rows),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": 'attachment; filename="calls.csv"'},
    )


PATHS = {
    "/v1/calls": {
        "get": Operation(
            "listCalls",
            "Read the call log; as CSV, all of it",
            query=CallQuery,
            answer=CallPage,
            problems=(404, 422),
            security="account",
        )
    }
}
