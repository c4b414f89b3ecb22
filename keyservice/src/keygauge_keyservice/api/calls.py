"""The call log over HTTP: filtered, page by page, or whole as CSV."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from datetime import datetime
from typing import Any, get_type_hints
from uuid import UUID

from flask import Blueprint, Response, request

from keygauge_keyservice import accounts, calls
from keygauge_keyservice.api.schema import (
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
from keygauge_keyservice.authority import operator_only
from keygauge_keyservice.csv_stream import usd, write_csv
from keygauge_keyservice.event_line import TEXT_LENGTH_MAX
from keygauge_keyservice.fields import Fields, page
from keygauge_keyservice.problem import FieldError, Problem, invalid
from keygauge_keyservice.services import services
from keygauge_keyservice.usage import UsageError, quarters

blueprint = Blueprint("api_calls", __name__, url_prefix="/v1/calls")

_NAMES = [name.name for name in fields(calls.LoggedCall)]


@blueprint.get("")
@operator_only
def list_page() -> dict[str, Any] | Response:
    """Answer with a page of an account's calls, or with all of them as CSV."""
    after_text, limit = page(most=calls.PAGE_MAX)
    chosen, form = _chosen()
    try:
        quarters(chosen["start"], chosen["end"])
        after = calls.Place.parse(after_text) if after_text else None
        with services().connection() as connection:
            accounts.require(connection, chosen["account_id"])
            found = calls.find_page(connection, after=after, limit=1 if form == "csv" else limit, **chosen)
    except UsageError as error:
        raise Problem(422, "invalid", str(error)) from error
    if form == "csv":
        return _csv(calls.read_all(services(), **chosen))
    return {"calls": [_document(call) for call in found.calls], "next": str(found.next) if found.next else None}


def _chosen() -> tuple[calls.CallFilter, str]:
    given = Fields({name: value for name, value in request.args.items() if name not in {"after", "limit"}})
    selection = read_selection(given)
    status = given.text("status", length_max=TEXT_LENGTH_MAX)
    ip = given.text("ip", length_max=TEXT_LENGTH_MAX)
    form = given.choice("format", ("json", "csv"), default="json")
    given.check()
    account_id = selection["account_id"]
    if account_id is None:
        raise invalid(FieldError("account", "missing", "is required"))
    return calls.CallFilter(
        **{**selection, "account_id": account_id, "status": status, "ip": ip, "is_partial": False}
    ), form


def _document(call: calls.LoggedCall) -> dict[str, Any]:
    return vars(call) | {"id": str(call.id), "time": call.time.isoformat()}


def _csv(found: Iterator[calls.LoggedCall]) -> Response:
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
}

SCHEMAS = {"Call": obj({name: _TYPES[hint] for name, hint in get_type_hints(calls.LoggedCall).items()})}

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
