"""Members and open invitations over HTTP: who may sign in to an account's portal."""

from __future__ import annotations

from datetime import datetime

from flask import Blueprint, Response
from msgspec import Struct

from keygauge_keyservice.accounts import accounts, invitations, members
from keygauge_keyservice.api.page import Page
from keygauge_keyservice.api.schema import Operation
from keygauge_keyservice.web.bearer_auth import operator_only
from keygauge_keyservice.web.context import services
from keygauge_keyservice.web.message import answer, query

blueprint = Blueprint("api_members", __name__, url_prefix="/v1/accounts/<account_id>")


class Member(Struct):
    """Who may sign in."""

    id: int
    email: str
    role: members.Role


class MemberPage(Struct):
    """Some members."""

    members: list[Member]
    next: str | None


class Invitation(Struct):
    """Who may become a member; the link is not told."""

    id: int
    email: str
    role: members.Role
    created_by: str
    ends_at: datetime


class Invitations(Struct):
    """All open invitations."""

    invitations: list[Invitation]


@blueprint.get("/members")
@operator_only
def list_page(account_id: str) -> Response:
    """List an account's members."""
    page = query(Page)
    with services().connection() as connection:
        found = members.list_members(connection, account_id, after=page.after, limit=page.limit)
    return answer(MemberPage, {"members": found, "next": found[-1].email if len(found) == page.limit else None})


@blueprint.get("/invitations")
@operator_only
def list_invitations(account_id: str) -> Response:
    """List invitations that may still be accepted; they end within a week, so there are few."""
    with services().connection() as connection:
        accounts.require(connection, account_id)
        found = invitations.list_open(connection, account_id)
    return answer(Invitations, {"invitations": found})


PATHS = {
    "/v1/accounts/{account_id}/members": {
        "get": Operation(
            "listMembers",
            "List who may sign in to an account's portal, by e-mail address",
            query=Page,
            answer=MemberPage,
            problems=(404, 422),
        )
    },
    "/v1/accounts/{account_id}/invitations": {
        "get": Operation(
            "listInvitations",
            "List invitations that may still be accepted, by e-mail address; their links are not in it",
            answer=Invitations,
            problems=(404,),
        )
    },
}
