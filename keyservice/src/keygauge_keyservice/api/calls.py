"""The call log over HTTP: filtered, page by page, or whole as CSV."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from datetime import datetime
from typing import Any, get_type_hints
from uuid import UUID

from flask import Blueprint, Response, request

from keygauge_keyservice.accounts import accounts
from keygauge_keyservice.api.schema import (
    COUNTS,
    INTEGER,
    PAGE,
    TEXT,
    TIME,
    Schema,
    array,
    nullable,
    obj,
    operation,
    query,
    ref,
)
from keygauge_keyservice.api.selection import PARAMETERS, read_selection
from keygauge_keyservice.csv_stream import usd, write_csv
from keygauge_keyservice.errors import FieldError, Problem, invalid
from keygauge_keyservice.fields import Fields
from keygauge_keyservice.ledger.event import TEXT_LENGTH_MAX
from keygauge_keyservice.usage import call_log
from keygauge_keyservice.usage.usage import UsageError, quarters
from keygauge_keyservice.web.bearer_auth import operator_only
from keygauge_keyservice.web.context import services
from keygauge_keyservice.web.fields import page

blueprint = Blueprint("api_calls", __name__, url_prefix="/v1/calls")

_NAMES = [name.name for name in fields(call_log.LoggedCall)]


@blueprint.get("")
@operator_only
def list_page() -> dict[str, Any] | Response:
    """Answer with a page of an account's calls, or with all of them as CSV."""
    after_text, limit = page(most=call_log.PAGE_MAX)
    chosen, form = _chosen()
    try:
        quarters(chosen["start"], chosen["end"])
        after = call_log.Place.parse(after_text) if after_text else None
        with services().connection() as connection:
            accounts.require(connection, chosen["account_id"])
            found = call_log.find_page(connection, after=after, limit=1 if form == "csv" else limit, **chosen)
    except UsageError as error:
        raise Problem(422, "invalid", str(error)) from error
    if form == "csv":
        return _csv(call_log.read_all(services().connection, **chosen))
    return {"calls": [_document(call) for call in found.calls], "next": str(found.next) if found.next else None}


def _chosen() -> tuple[call_log.CallFilter, str]:
    given = Fields({name: value for name, value in request.args.items() if name not in {"after", "limit"}})
    selection = read_selection(given)
    status = given.text("status", length_max=TEXT_LENGTH_MAX)
    ip = given.text("ip", length_max=TEXT_LENGTH_MAX)
    form = given.choice("format", ("json", "csv"), default="json")
    given.check()
    account_id = selection["account_id"]
    if account_id is None:
        raise invalid(FieldError("account", "missing", "is required"))
    return call_log.CallFilter(
        **{**selection, "account_id": account_id, "status": status, "ip": ip, "is_partial": False}
    ), form


def _document(call: call_log.LoggedCall) -> dict[str, Any]:
    return vars(call) | {"id": str(call.id), "time": call.time.isoformat()}


def _csv(found: Iterator[call_log.LoggedCall]) -> Response:
    rows = ([usd(value) if name == "cost_nanousd" else value for name, value in vars(call).items()] for call in found)
    names = ["cost_usd" if name == "cost_nanousd" else name for name in _NAMES]
    return Response(
        write_csv(names, rows),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": 'attachment; filename="calls.csv"'},
    )


_TYPES: dict[object, Schema] = {
    int: INTEGER,
    str: TEXT,
    datetime: TIME,
    UUID: {"type": "string", "format": "uuid"},
    int | None: nullable(INTEGER),
    str | None: nullable(TEXT),
    dict[str, int] | None: nullable(COUNTS),
}

SCHEMAS = {"Call": obj({name: _TYPES[hint] for name, hint in get_type_hints(call_log.LoggedCall).items()})}

PATHS = {
    "/v1/calls": {
        "get": operation(
            "listCalls",
            "The call log, newest first; as CSV the whole of it",
            parameters=[
                query("account", TEXT, "the account", required=True),
                query("status", TEXT, "one status, such as 429, or a class, such as 4xx"),
                query("ip", TEXT, "only calls from this address"),
                *PARAMETERS,
                *PAGE,
            ],
            answer=obj({"calls": array(ref("Call")), "next": nullable(TEXT)}),
            problems=(404, 422),
        )
    }
}
