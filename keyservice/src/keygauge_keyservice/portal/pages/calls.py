"""The calls page: the call log, newest first, and a page per call; also as CSV and JSON."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from urllib.parse import quote

from flask import Blueprint, Response, render_template, request

from keygauge.tag import LENGTH_MAX
from keygauge_keyservice.csv_stream import usd
from keygauge_keyservice.database import Connection
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.keys.keys import Key
from keygauge_keyservice.ledger import tags
from keygauge_keyservice.ledger.event import TEXT_LENGTH_MAX
from keygauge_keyservice.portal import auth, date_range, own_keys, reader
from keygauge_keyservice.portal.date_range import DateRange
from keygauge_keyservice.portal.own_keys import require_own
from keygauge_keyservice.texts import each, gettext, mark
from keygauge_keyservice.usage import call_log, kind_titles
from keygauge_keyservice.usage.call_log import CallFilter, LoggedCall, Place
from keygauge_keyservice.usage.failures import find_failures
from keygauge_keyservice.usage.usage import UsageError
from keygauge_keyservice.web.context import services
from keygauge_keyservice.web.exact_json import exact_json
from keygauge_keyservice.web.export import as_csv

blueprint = Blueprint("calls", __name__)

_PAGE = 50
_STATUSES = {
    "2xx": mark("Successful (2xx)"),
    "4xx": mark("Client errors (4xx)"),
    "429": mark("Rate limited (429)"),
    "5xx": mark("Server errors (5xx)"),
}
_OUTCOMES = {
    "admitted": mark("Admitted"),
    "limited": mark("Rejected: rate limit exceeded"),
    "quota": mark("Rejected: quota exceeded"),
    "revoked": mark("Rejected: key disabled or deleted"),
    "expired": mark("Rejected: key expired"),
    "forbidden": mark("Rejected: not permitted for this key"),
    "unavailable": mark("Rejected: limits unavailable"),
    "would_limit": mark("Admitted: would exceed a dry-run limit"),
    "degraded": mark("Admitted: key service unreachable"),
    "part": mark("Part of another request"),
}
_STREAMS = {
    "sse": mark("Server-sent events"),
    "ndjson": mark("NDJSON"),
    "eventstream": mark("Amazon event stream"),
    "websocket": mark("WebSocket"),
}
_FILTERS = ("key", "status", "model", "route", "tag", "ip", "exact")
_LENGTHS_MAX = {"tag": LENGTH_MAX, "model": TEXT_LENGTH_MAX, "route": TEXT_LENGTH_MAX, "ip": 64}
_NAMES = [name.name for name in fields(LoggedCall)]


@blueprint.get("/calls")
def show() -> str | Response:
    """Show a page of the log; a live update without changes gets a 304."""
    shown = date_range.read(request.args, now=datetime.now(UTC), zone=reader.zone())
    given = _given()
    with services().connection() as connection:
        key = own_keys.require_chosen(connection, given["key"]) if "key" in given else None
        if key:
            given["key"] = key.id
        page = _page(connection, _selected(shown, key, given))
        names = own_keys.names(connection, [call.key_id for call in page.calls])
        is_rows_only = "live" in request.args
        listed = [] if is_rows_only else own_keys.offered(connection)
        failed = find_failures(connection, auth.current_account_id()) if not (given or is_rows_only) else []
        names |= own_keys.names(connection, {one.key_id for one in failed} - names.keys())
        has_tags = tags.has_any(connection, auth.current_account_id())
    parts = {"page": page, "names": names, "place": call_log.place_of, "has_tags": has_tags}
    if is_rows_only:
        return _unless_known(render_template("portal/call_rows.html", **parts), page)
    return render_template(
        "portal/calls.html",
        date_range=shown,
        presets=each(date_range.PRESETS),
        key=key,
        key_labels=own_keys.labels([*listed, key] if key and key not in listed else listed),
        is_part_of_keys=len(listed) == own_keys.OFFERED_MAX,
        statuses=each(_STATUSES),
        given=given,
        query=shown.query | given,
        is_first="after" not in request.args,
        failures=failed,
        most=call_log.PAGE_MAX,
        **parts,
    )


@blueprint.get("/calls/<place>")
def read(place: str) -> str:
    """Show the details of a call."""
    try:
        with services().connection() as connection:
            call = call_log.find(connection, auth.current_account_id(), Place.parse(place))
            if call is None:
                raise Problem(404, "call_not_found", gettext("Request not found."))
            key = require_own(connection, call.key_id)
    except UsageError as error:
        raise Problem(404, "call_not_found", gettext("Request not found.")) from error
    trace_url = services().settings.trace_url or ""
    return render_template(
        "portal/call.html",
        call=call,
        key=key,
        trace_url=trace_url.replace("{trace_id}", quote(call.trace_id or "", safe="")),
        outcomes=each(_OUTCOMES),
        streams=each(_STREAMS),
        titled=kind_titles.titled,
        kind_title=kind_titles.title,
    )


@blueprint.get("/calls.csv")
def export() -> Response:
    """Return all selected calls as CSV."""
    rows = ([usd(value) if name == "cost_nanousd" else value for name, value in vars(call).items()] for call in _all())
    names = ["cost_usd" if name == "cost_nanousd" else name for name in _NAMES]
    return as_csv("requests", names, rows)


@blueprint.get("/calls.json")
def export_json() -> Response:
    """Return a page of the selected calls as JSON."""
    shown, given = date_range.read(request.args, now=datetime.now(UTC), zone=reader.zone()), _given()
    with services().connection() as connection:
        key = own_keys.require_chosen(connection, given["key"]) if "key" in given else None
        page = _page(connection, _selected(shown, key, given), limit=call_log.PAGE_MAX)
    documents = [vars(call) | {"id": str(call.id), "time": call.time.isoformat()} for call in page.calls]
    return exact_json({"calls": documents, "next": str(page.next) if page.next else None})


def _all() -> Iterator[LoggedCall]:
    shown, given = date_range.read(request.args, now=datetime.now(UTC), zone=reader.zone()), _given()
    with services().connection() as connection:
        key = own_keys.require_chosen(connection, given["key"]) if "key" in given else None
        selected = _selected(shown, key, given)
        _page(connection, selected, limit=1)  # report invalid filters before the response starts
    return call_log.read_all(services().connection, **selected)


def _unless_known(rows: str, page: call_log.Page) -> Response:
    """Return a live page's rows, or a 304 if it already has them."""
    response = Response(rows, content_type="text/html; charset=utf-8")
    response.headers["Cache-Control"] = "no-cache, private"
    response.set_etag(hashlib.sha256(",".join(str(call.id) for call in page.calls).encode()).hexdigest()[:24])
    return response.make_conditional(request)  # type: ignore[return-value]  # the same response


def _given() -> dict[str, str]:
    return {name: text for name in _FILTERS if (text := request.args.get(name, "").strip())}


def _selected(shown: DateRange, key: Key | None, given: Mapping[str, str]) -> CallFilter:
    return CallFilter(
        account_id=auth.current_account_id(),
        start=shown.start,
        end=shown.end,
        key_id=key.id if key else None,
        **_narrow(given),
    )


def _narrow(given: Mapping[str, str]) -> CallFilter:
    texts = {name: given.get(name, "").strip() or None for name in ("model", "route", "tag", "ip")}
    for name, text in texts.items():
        if text and ("\0" in text or len(text) > _LENGTHS_MAX[name]):
            raise Problem(
                422,
                "bad_filter",
                gettext("%(field)s: use at most %(most)s characters.", field=name, most=_LENGTHS_MAX[name]),
            )
    return {"status": given.get("status"), "is_partial": "exact" not in given, **texts}  # type: ignore[typeddict-item]  # a part


def _page(connection: Connection, selected: CallFilter, *, limit: int = _PAGE) -> call_log.Page:
    after = request.args.get("after")
    try:
        return call_log.find_page(connection, after=Place.parse(after) if after else None, limit=limit, **selected)
    except UsageError as error:
        raise Problem(422, "bad_filter", f"{error}.") from error
