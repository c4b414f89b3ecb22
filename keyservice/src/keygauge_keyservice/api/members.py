"""Members and invitations over HTTP: who may sign in to an account's portal."""

from __future__ import annotations

from typing import Any, get_args

from flask import Blueprint, request

from keygauge_keyservice.accounts import accounts, invitations, members
from keygauge_keyservice.api.schema import INTEGER, PAGE, TEXT, TIME, array, enum, nullable, obj, operation, path, ref
from keygauge_keyservice.ledger.event import TEXT_LENGTH_MAX
from keygauge_keyservice.web import fields
from keygauge_keyservice.web.bearer_auth import actor, operator_only
from keygauge_keyservice.web.context import services
from keygauge_keyservice.web.idempotency import idempotent

_ID_MAX = 2**63 - 1

blueprint = Blueprint("api_members", __name__, url_prefix="/v1/accounts/<account_id>")


@blueprint.get("/members")
@operator_only
def list_page(account_id: str) -> dict[str, Any]:
    """List an account's members."""
    after, limit = fields.page()
    with services().connection() as connection:
        found = members.list_members(connection, account_id, after=after, limit=limit)
    return {
        "members": [_person(one) for one in found],
        "next": found[-1].email if len(found) == limit else None,
    }


@blueprint.patch("/members/<int:member_id>")
@operator_only
@idempotent
def change(account_id: str, member_id: int) -> dict[str, Any]:
    """Give a member another role."""
    given = fields.body()
    role = given.choice("role", get_args(members.Role))
    given.check()
    with services().connection() as connection:
        changed = members.set_role(connection, account_id, _sane(member_id), role, actor=actor())
    return _person(changed)


@blueprint.delete("/members/<int:member_id>")
@operator_only
@idempotent
def remove(account_id: str, member_id: int) -> tuple[str, int]:
    """Take a member out of the account."""
    with services().connection() as connection:
        members.remove(connection, account_id, _sane(member_id), actor=actor())
    return "", 204


@blueprint.post("/invitations")
@operator_only
@idempotent
def invite(account_id: str) -> tuple[dict[str, Any], int]:
    """Invite a person; the link is shown this once."""
    given = fields.body()
    email = given.text("email", length_max=TEXT_LENGTH_MAX) or ""
    role = given.choice("role", get_args(members.Role))
    given.check()
    with services().connection() as connection:
        accounts.require(connection, account_id)
        invited, token = invitations.create(
            connection, account_id=account_id, email=email, role=role, actor=actor(), by_operator=True
        )
    root = (services().settings.public_url or request.url_root).rstrip("/")
    return {"invitation": _document(invited), "link": f"{root}/invitation/{token}"}, 201


@blueprint.delete("/invitations/<int:invitation_id>")
@operator_only
@idempotent
def withdraw(account_id: str, invitation_id: int) -> tuple[str, int]:
    """End an invitation; nothing happens where it was accepted."""
    with services().connection() as connection:
        accounts.require(connection, account_id)
        invitations.withdraw(connection, account_id, _sane(invitation_id), actor=actor())
    return "", 204


@blueprint.get("/invitations")
@operator_only
def list_invitations(account_id: str) -> dict[str, Any]:
    """List invitations that may still be accepted; they end within a week, so there are few."""
    with services().connection() as connection:
        accounts.require(connection, account_id)
        found = invitations.list_open(connection, account_id)
    return {"invitations": [_document(one) for one in found]}


def _sane(number: int) -> int:
    return min(number, _ID_MAX)  # PostgreSQL has none larger


def _person(member: members.Member) -> dict[str, Any]:
    return {"id": member.id, "email": member.email, "role": member.role}


def _document(invited: invitations.Invitation) -> dict[str, Any]:
    return {
        "id": invited.id,
        "email": invited.email,
        "role": invited.role,
        "created_by": invited.created_by,
        "ends_at": invited.ends_at.isoformat(),
    }


_ACCOUNT_ID = path("account_id")
_MEMBER_ID, _INVITATION_ID = (
    {**path(name), "schema": {**INTEGER, "minimum": 1}} for name in ("member_id", "invitation_id")
)
_ROLE = enum(*get_args(members.Role))
_PERSON = {"id": INTEGER, "email": TEXT, "role": _ROLE}

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
        ),
        "post": operation(
            "inviteMember",
            "Invite a person, or a member who lost the password, by a link that works once within a week; it is shown "
            "this once, and an earlier one of the same address ends",
            parameters=[_ACCOUNT_ID],
            body=obj({"email": TEXT, "role": _ROLE}),
            answer=obj({"invitation": ref("Invitation"), "link": nullable(TEXT)}),
            status=201,
            problems=(404, 409, 422),
        ),
    },
    "/v1/accounts/{account_id}/invitations/{invitation_id}": {
        "delete": operation(
            "withdrawInvitation",
            "End an invitation",
            parameters=[_ACCOUNT_ID, _INVITATION_ID],
            status=204,
            problems=(404,),
        )
    },
    "/v1/accounts/{account_id}/members/{member_id}": {
        "patch": operation(
            "changeMember",
            "Give a member another role",
            parameters=[_ACCOUNT_ID, _MEMBER_ID],
            body=obj({"role": _ROLE}),
            answer=ref("Member"),
            problems=(404, 409, 422),
        ),
        "delete": operation(
            "removeMember",
            "Take a member out of an account, sessions and all",
            parameters=[_ACCOUNT_ID, _MEMBER_ID],
            status=204,
            problems=(404, 409),
        ),
    },
}
