"""The table of members and open invitations as CSV and JSON."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from keygauge_keyservice.accounts import invitations, members
from keygauge_keyservice.portal import auth
from keygauge_keyservice.web import export
from keygauge_keyservice.web.context import services

blueprint = Blueprint("member_table", __name__)

_NAMES = ("email", "role", "is_invited", "invited_by", "ends_at")


@blueprint.get("/members.csv")
def export_csv() -> Response:
    """Return all members and open invitations as CSV."""
    return export.as_csv("members", _NAMES, (list(row.values()) for row in _rows()))


@blueprint.get("/members.json")
def export_json() -> Response:
    """Return all members and open invitations as JSON."""
    return export.as_json("members", _rows())


def _rows() -> list[dict[str, Any]]:
    account_id = auth.current_account_id()
    with services().connection() as connection:
        joined = members.list_members(connection, account_id)
        invited = invitations.list_open(connection, account_id)
    rows: list[tuple[object, ...]] = [(one.email, one.role, False, None, None) for one in joined]
    rows += [(one.email, one.role, True, one.created_by, one.ends_at) for one in invited]
    return [dict(zip(_NAMES, row, strict=True)) for row in rows]
