"""Members and invitations over HTTP: who may sign in to an account's portal."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from flask import Blueprint, Response, request
from msgspec import Meta, Struct

from keygauge_keyservice.accounts import accounts, invitations, members
from keygauge_keyservice.api.page import NumberedPage, next_of
from keygauge_keyservice.api.schema import Operation
from keygauge_keyservice.field_types import Text
from keygauge_keyservice.web.bearer_auth import actor, operator_only, owners_too
from keygauge_keyservice.web.context import services
from keygauge_keyservice.web.idempotency import idempotent
from keygauge_keyservice.web.message import answer, body, query

_ID_MAX = 2**63 - 1

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


class RoleChange(Struct):
    """What a member may do from now on."""

    role: members.Role


class NewInvitation(Struct):
    """Who is invited, as what."""

    email: Text
    role: members.Role


class IssuedInvitation(Struct):
    """An invitation that was just made; its link is null when the request is repeated."""

    invitation: Invitation
    link: str | None


class InvitationPage(Struct):
    """Some open invitations."""

    invitations: list[Invitation]
    next: str | None


class InvitationQuery(NumberedPage):
    """Which invitations are asked for."""

    email: Annotated[Text, Meta(description="only that of this address")] | None = None
    sort: Annotated[invitations.Sort, Meta(description="the order; - before it: downwards")] = "email"


class MemberQuery(NumberedPage):
    """Which members are asked for."""

    email: Annotated[Text, Meta(description="only that of this address")] | None = None
    role: Annotated[members.Role, Meta(description="only members of this role")] | None = None
    sort: Annotated[members.Sort, Meta(description="the order; - before it: downwards")] = "email"


@blueprint.get("/members")
@owners_too
def list_page(account_id: str) -> Response:
    """List an account's members."""
    asked = query(MemberQuery)
    email = asked.email and members.normalise_email(asked.email)
    with services().connection() as connection:
        found = members.list_members(
            connection,
            account_id,
            email=email,
            role=asked.role,
            sort=asked.sort,
            after=asked.after,
            limit=asked.limit,
        )
    return answer(MemberPage, {"members": found, "next": next_of(found, asked.limit)})


@blueprint.patch("/members/<int:member_id>")
@operator_only
@idempotent
def change(account_id: str, member_id: int) -> Response:
    """Give a member another role."""
    given = body(RoleChange)
    with services().connection() as connection:
        changed = members.set_role(connection, account_id, _sane(member_id), given.role, actor=actor())
    return answer(Member, changed)


@blueprint.delete("/members/<int:member_id>")
@operator_only
@idempotent
def remove(account_id: str, member_id: int) -> Response:
    """Take a member out of the account."""
    with services().connection() as connection:
        members.remove(connection, account_id, _sane(member_id), actor=actor())
    return Response(status=204)


@blueprint.post("/invitations")
@operator_only
@idempotent
def invite(account_id: str) -> Response:
    """Invite a person; the link is shown this once."""
    given = body(NewInvitation)
    with services().connection() as connection:
        accounts.require(connection, account_id)
        invited, token = invitations.create(
            connection, account_id=account_id, email=given.email, role=given.role, actor=actor(), by_operator=True
        )
    root = (services().settings.public_url or request.url_root).rstrip("/")
    return answer(IssuedInvitation, {"invitation": invited, "link": f"{root}/invitation/{token}"}, 201)


@blueprint.delete("/invitations/<int:invitation_id>")
@operator_only
@idempotent
def withdraw(account_id: str, invitation_id: int) -> Response:
    """End an invitation; nothing happens where it was accepted."""
    with services().connection() as connection:
        accounts.require(connection, account_id)
        invitations.withdraw(connection, account_id, _sane(invitation_id), actor=actor())
    return Response(status=204)


def _sane(number: int) -> int:
    return min(number, _ID_MAX)  # PostgreSQL has none larger


@blueprint.get("/invitations")
@owners_too
def list_invitations(account_id: str) -> Response:
    """List invitations that may still be accepted."""
    asked = query(InvitationQuery)
    email = asked.email and members.normalise_email(asked.email)
    with services().connection() as connection:
        accounts.require(connection, account_id)
        found = invitations.list_open(
            connection, account_id, email=email, sort=asked.sort, after=asked.after, limit=asked.limit
        )
    return answer(InvitationPage, {"invitations": found, "next": next_of(found, asked.limit)})


PATHS = {
    "/v1/accounts/{account_id}/members": {
        "get": Operation(
            "listMembers",
            "List who may sign in to an account's portal",
            query=MemberQuery,
            answer=MemberPage,
            problems=(404, 422),
            security="account",
        )
    },
    "/v1/accounts/{account_id}/invitations": {
        "get": Operation(
            "listInvitations",
            "List invitations that may still be accepted; their links are not in it",
            query=InvitationQuery,
            answer=InvitationPage,
            problems=(404, 422),
            security="account",
        ),
        "post": Operation(
            "inviteMember",
            "Invite a person, or a member who lost the password, by a link that works once within a week; it is shown "
            "this once, and an earlier one of the same address ends",
            body=NewInvitation,
            answer=IssuedInvitation,
            status=201,
            problems=(404,),
        ),
    },
    "/v1/accounts/{account_id}/invitations/{invitation_id}": {
        "delete": Operation("withdrawInvitation", "End an invitation", status=204, problems=(404,))
    },
    "/v1/accounts/{account_id}/members/{member_id}": {
        "patch": Operation(
            "changeMember", "Give a member another role", body=RoleChange, answer=Member, problems=(404,)
        ),
        "delete": Operation(
            "removeMember", "Take a member out of an account, sessions and all", status=204, problems=(404,)
        ),
    },
}
