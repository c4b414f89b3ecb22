"""HTTP API for members and invitations: who may sign in to an account's portal."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from flask import Blueprint, Response, request
from msgspec import Meta, Struct

from keygauge_keyservice.accounts import accounts, invitations, members
from keygauge_keyservice.api.document.schema import Operation
from keygauge_keyservice.api.page import NumberedPage, next_of, row_id
from keygauge_keyservice.values.field_types import Text
from keygauge_keyservice.web.bearer_auth import actor, operator_only, owners_too
from keygauge_keyservice.web.context import services
from keygauge_keyservice.web.idempotency import idempotent
from keygauge_keyservice.web.message import answer, body, query

blueprint = Blueprint("api_members", __name__, url_prefix="/v1/accounts/<account_id>")


class Member(Struct):
    """A member, who can sign in."""

    id: int
    email: str
    role: members.Role


class MemberPage(Struct):
    """A page of members."""

    members: list[Member]
    next: str | None


class Invitation(Struct):
    """An open invitation, without its link."""

    id: int
    email: str
    role: members.Role
    created_by: str
    ends_at: datetime


class RoleChange(Struct):
    """A member's new role."""

    role: members.Role


class NewInvitation(Struct):
    """The e-mail address and role of a person to invite."""

    email: Text
    role: members.Role


class IssuedInvitation(Struct):
    """A new invitation; the link is null if the request is repeated."""

    invitation: Invitation
    link: str | None


class InvitationPage(Struct):
    """A page of open invitations."""

    invitations: list[Invitation]
    next: str | None


class InvitationQuery(NumberedPage):
    """A query for invitations."""

    email: Annotated[Text, Meta(description="only that of this address")] | None = None
    sort: Annotated[invitations.Sort, Meta(description="sort order; prefix with - for descending")] = "email"


class MemberQuery(NumberedPage):
    """A query for members."""

    email: Annotated[Text, Meta(description="only that of this address")] | None = None
    role: Annotated[members.Role, Meta(description="only members of this role")] | None = None
    sort: Annotated[members.Sort, Meta(description="sort order; prefix with - for descending")] = "email"


@blueprint.get("/members")
@owners_too
def list_page(account_id: str) -> Response:
    """List an account's members."""
    params = query(MemberQuery)
    email = params.email and members.normalise_email(params.email)
    with services().connection() as connection:
        found = members.list_members(
            connection,
            account_id,
            email=email,
            role=params.role,
            sort=params.sort,
            after=params.after,
            limit=params.limit,
        )
    return answer(MemberPage, {"members": found, "next": next_of(found, params.limit)})


@blueprint.patch("/members/<int:member_id>")
@operator_only
@idempotent
def change(account_id: str, member_id: int) -> Response:
    """Change a member's role."""
    given = body(RoleChange)
    with services().connection() as connection:
        changed = members.set_role(connection, account_id, row_id(member_id), given.role, actor=actor())
    return answer(Member, changed)


@blueprint.delete("/members/<int:member_id>")
@operator_only
@idempotent
def remove(account_id: str, member_id: int) -> Response:
    """Remove a member from the account."""
    with services().connection() as connection:
        members.remove(connection, account_id, row_id(member_id), actor=actor())
    return Response(status=204)


@blueprint.post("/invitations")
@operator_only
@idempotent
def invite(account_id: str) -> Response:
    """Invite a person; the link is shown once."""
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
    """Withdraw an invitation; do nothing if it was accepted."""
    with services().connection() as connection:
        accounts.require(connection, account_id)
        invitations.withdraw(connection, account_id, row_id(invitation_id), actor=actor())
    return Response(status=204)


@blueprint.get("/invitations")
@owners_too
def list_invitations(account_id: str) -> Response:
    """List open invitations."""
    params = query(InvitationQuery)
    email = params.email and members.normalise_email(params.email)
    with services().connection() as connection:
        accounts.require(connection, account_id)
        found = invitations.list_open(
            connection, account_id, email=email, sort=params.sort, after=params.after, limit=params.limit
        )
    return answer(InvitationPage, {"invitations": found, "next": next_of(found, params.limit)})


PATHS = {
    "/v1/accounts/{account_id}/members": {
        "get": Operation(
            "listMembers",
            "List an account's members",
            query=MemberQuery,
            answer=MemberPage,
            problems=(404, 422),
            security="account",
        )
    },
    "/v1/accounts/{account_id}/invitations": {
        "get": Operation(
            "listInvitations",
            "List open invitations, without their links",
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
        "delete": Operation("withdrawInvitation", "Withdraw an invitation", status=204, problems=(404,))
    },
    "/v1/accounts/{account_id}/members/{member_id}": {
        "patch": Operation("changeMember", "Change a member's role", body=RoleChange, answer=Member, problems=(404,)),
        "delete": Operation(
            "removeMember", "Remove a member from an account and end their sessions", status=204, problems=(404,)
        ),
    },
}
