"""The calls page: the log of single calls, newest first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from flask import Blueprint, render_template, request

from keygauge_keyservice import calls, keys
from keygauge_keyservice.calls import CallFilter, LoggedCall, Place
from keygauge_keyservice.database import Connection
from keygauge_keyservice.portal import guard, span
from keygauge_keyservice.portal.keys import require_own
from keygauge_keyservice.problem import Problem
from keygauge_keyservice.services import services
from keygauge_keyservice.usage import UsageError

blueprint = Blueprint("calls", __name__)

_PAGE = 50
_STATUSES = {"2xx": "Answered", "4xx": "Refused or wrong (4xx)", "429": "Limited (429)", "5xx": "Failed (5xx)"}
_FILTERS = ("key", "status", "ip")
_IP_LENGTH_MAX = 64


@blueprint.get("/calls")
def show() -> str:
    """Show a page of the log."""
    shown = span.read(request.args, now=datetime.now(UTC))
    given = {name: request.args[name] for name in _FILTERS if request.args.get(name)}
    account_id = guard.current_account_id()
    with services().connection() as connection:
        key = require_own(connection, given["key"]) if "key" in given else None
        selected = CallFilter(
            account_id=account_id, start=shown.start, end=shown.end, key_id=key.id if key else None, **_narrow(given)
        )
        page = _page(connection, selected)
        listed = keys.list_keys(connection, account_id)
        names = _names(connection, {one.id: one.name for one in listed}, page.calls)
    return render_template(
        "portal/calls.html",
        span=shown,
        presets=span.PRESETS,
        key=key,
        keys=listed,
        names=names,
        page=page,
        statuses=_STATUSES,
        given=given,
        query=shown.query | given,
        is_first="after" not in request.args,
    )


def _narrow(given: Mapping[str, str]) -> CallFilter:
    ip = given.get("ip", "").strip()
    narrowed: CallFilter = {"status": given.get("status"), "ip": ip or None}  # type: ignore[typeddict-item]  # a part
    if "\0" in ip or len(ip) > _IP_LENGTH_MAX:
        raise Problem(422, "bad_filter", "ip: give an address such as 192.0.2.7.")
    return narrowed


def _page(connection: Connection, selected: CallFilter) -> calls.Page:
    after = request.args.get("after")
    try:
        return calls.find_page(connection, after=Place.parse(after) if after else None, limit=_PAGE, **selected)
    except UsageError as error:
        raise Problem(422, "bad_filter", f"{error}.") from error


def _names(connection: Connection, names: dict[str, str], shown: Sequence[LoggedCall]) -> dict[str, str]:
    """Add the names of deleted keys that made some of the calls."""
    for key_id in {call.key_id for call in shown} - names.keys():
        names[key_id] = require_own(connection, key_id).name
    return names
