"""Members and open invitations over HTTP: who may sign in to an account's portal."""

from __future__ import annotations

from typing import Any, get_args

from flask import Blueprint

from keygauge_keyservice.accounts import accounts, invitations, members
from keygauge_keyservice.api.schema import INTEGER, PAGE, TEXT, TIME, array, enum, nullable, obj, operation, path, ref
from keygauge_keyservice.web import fields
from keygauge_keyservice.web.bearer_auth import operator_only
from keygauge_keyservice.web.context import services

blueprint = Blueprint("api_members", __name__, url_prefix="/v1/accounts/<account_id>")


@blueprint.get("/members")
@operator_only
def list_page(account_id: str) -> dict[str, Any]:
    """List an account's members."""
    after, limit = fields.page()
    with services().connection() as connection:
        found = members.list_members(connection, account_id, after=after, limit=limit)
    return {
        "members": [{"id": one.id, "email": one.email, "role": one.role} for one in found],
        "next": found[-1].email if len(found) == limit else None,
    }


@blueprint.get("/invitations")
@operator_only
def list_invitations(account_id: str) -> dict[str, Any]:
    """List invitations that may still be accepted; they end within a week, so there are few."""
    with services().connection() as connection:
        accounts.require(connection, account_id)
        found = invitations.list_open(connection, account_id)
    return {"invitations": [_document(one) for one in found]}


def _document(invited: invitations.Invitation) -> dict[str, Any]:
    return {
        "id": invited.id,
        "email": invited.email,
        "role": invited.role,
        "created_by": invited.created_by,
        "ends_at": invited.ends_at.isoformat(),
    }


_ACCOUNT_ID = path("account_id")
_PERSON = {"id": INTEGER, "email": TEXT, "role": enum(*get_args(members.Role))}

SCHEMAS = {
    "Member": obj(_PERSON),
    "Invitation": obj({**_PERSON, "created_by": TEXT, "ends_at": TIME}),
}

PATHS = {
    "/v1/accounts/{account_id}/members": {
        "get": operation(
            "listMembers",
            "List who may sign in to an account's portal, by e-mail address",
            parameters=[_ACCOUNT_ID, *PAGE],
            answer=obj({"members": array(ref("Member")), "next": nullable(TEXT)}),
            problems=(404, 422),
        )
    },
    "/v1/accounts/{account_id}/invitations": {
        "get": operation(
            "listInvitations",
            "List invitations that may still be accepted, by e-mail address; their links are not in it",
            parameters=[_ACCOUNT_ID],
            answer=obj({"invitations": array(ref("Invitation"))}),
            problems=(404,),
        )
    },
}
