"""The page of a one-time invitation link: choose a password and join."""

from __future__ import annotations

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from keygauge_keyservice.accounts import accounts, invitations, members, sessions
from keygauge_keyservice.accounts.invitations import Invitation
from keygauge_keyservice.database import Connection
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.portal import auth
from keygauge_keyservice.texts import gettext
from keygauge_keyservice.web.context import services

blueprint = Blueprint("invitation", __name__)


@blueprint.get("/invitation/<token>")
def show(token: str) -> str:
    """Show the invitation."""
    with services().connection() as connection:
        return _page(connection, _require(connection, token))


@blueprint.post("/invitation/<token>")
def accept(token: str) -> Response | tuple[str, int]:
    """Set the password, use up the link and sign the person in."""
    password = request.form.get("password", "")
    with services().connection() as connection:
        invited = _require(connection, token)
        if password != request.form.get("again", ""):
            return _page(connection, invited, wrong=gettext("The passwords don't match.")), 422
    try:
        with services().connection() as connection:
            member = invitations.accept(connection, token, password)
            cookie = sessions.start(connection, member.id)
    except Problem as problem:
        with services().connection() as connection:
            return _page(connection, _require(connection, token), wrong=problem.detail), problem.status
    response = redirect(url_for("portal.overview.show"), 303)
    auth.give_cookie(response, cookie)
    return response


def _require(connection: Connection, token: str) -> Invitation:
    invited = invitations.find(connection, token)
    if invited is None:
        raise Problem(
            404, "invitation_not_found", gettext("This invitation has expired or was already used. Ask for a new one.")
        )
    return invited


def _page(connection: Connection, invited: Invitation, *, wrong: str | None = None) -> str:
    account = accounts.require(connection, invited.account_id) if invited.account_id else None
    sign_on = services().sign_on
    return render_template(
        "portal/invitation.html",
        invited=invited,
        account=account,
        role=gettext(members.ROLE_NAMES[invited.role]),
        wrong=wrong,
        provider=sign_on.provider.name if sign_on else None,
        token=(request.view_args or {})["token"],
    )
