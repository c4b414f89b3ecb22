"""The members page: who may view and change the account, and one-time invitation links."""

from __future__ import annotations

from typing import get_args

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from keygauge_keyservice.accounts import invitations, members
from keygauge_keyservice.accounts.members import Role
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.portal import auth, cookies
from keygauge_keyservice.texts import each, gettext, mark
from keygauge_keyservice.web.context import services

blueprint = Blueprint("members", __name__, url_prefix="/members")

_ROLES = {
    "owner": mark("Owner: full access"),
    "member": mark("Member: manage keys"),
    "viewer": mark("Viewer: read-only"),
}
_NOTICES = {
    "role": mark("Role saved."),
    "removed": mark("Member removed and signed out on all devices."),
    "withdrawn": mark("Invitation canceled."),
}


@blueprint.get("")
def show() -> str:
    """List members and open invitations."""
    return _page()


@blueprint.post("")
def invite() -> str | tuple[str, int]:
    """Invite a person and show the link, only in this response."""
    member = auth.require_manager()
    email, role = request.form.get("email", ""), _role()
    try:
        with services().connection() as connection:
            invited, token = invitations.create(
                connection,
                account_id=auth.current_account_id(),
                email=email,
                role=role,
                actor=member.email,
            )
    except Problem as problem:
        return _page(wrong=problem.messages()[0], email=email), problem.status
    link = cookies.public_link("portal.invitation.show", token=token)
    return render_template("portal/member_invited.html", invited=invited, link=link)


@blueprint.post("/<int:member_id>/role")
def set_role(member_id: int) -> Response:
    """Change a member's role."""
    member, role = auth.require_manager(), _role()
    with services().connection() as connection:
        members.set_role(connection, auth.current_account_id(), _sane(member_id), role, actor=member.email)
    return _back("role")


@blueprint.get("/<int:member_id>/remove")
def confirm_remove(member_id: int) -> str:
    """Ask for confirmation before removing a member."""
    auth.require_manager()
    with services().connection() as connection:
        one = members.require(connection, auth.current_account_id(), _sane(member_id))
    return render_template("portal/member_remove.html", one=one)


@blueprint.post("/<int:member_id>/remove")
def remove(member_id: int) -> Response:
    """Remove a member."""
    member = auth.require_manager()
    with services().connection() as connection:
        members.remove(connection, auth.current_account_id(), _sane(member_id), actor=member.email)
    return _back("removed")


@blueprint.post("/invitations/<int:invitation_id>/withdraw")
def withdraw(invitation_id: int) -> Response:
    """Withdraw an invitation."""
    member = auth.require_manager()
    with services().connection() as connection:
        invitations.withdraw(connection, auth.current_account_id(), _sane(invitation_id), actor=member.email)
    return _back("withdrawn")


def _page(*, wrong: str | None = None, email: str = "") -> str:
    account_id = auth.current_account_id()
    with services().connection() as connection:
        listed = members.list_members(connection, account_id)
        invited = invitations.list_open(connection, account_id)
    return render_template(
        "portal/members.html",
        members=listed,
        invited=invited,
        roles=each(_ROLES),
        wrong=wrong,
        email=email,
        notice=each(_NOTICES).get(request.args.get("notice", "")),
    )


def _role() -> Role:
    role = request.form.get("role", "")
    if role not in get_args(Role):
        raise Problem(422, "bad_role", gettext("Choose owner, member or viewer."))
    return role  # type: ignore[return-value]  # one of them


def _sane(number: int) -> int:
    if number >= 2**63:  # beyond PostgreSQL's bigint
        raise Problem(404, "member_not_found", gettext("There is no such member."))
    return number


def _back(notice: str) -> Response:
    return redirect(url_for("portal.members.show", notice=notice), 303)
