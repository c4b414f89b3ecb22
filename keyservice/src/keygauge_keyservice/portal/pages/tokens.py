"""The access tokens page: credentials for programs that use the API on behalf of the account."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from typing import cast

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from keygauge_keyservice.accounts import sessions, tokens
from keygauge_keyservice.accounts.tokens import Scope
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.portal import auth, cookies
from keygauge_keyservice.portal.pages.keys import is_form_id
from keygauge_keyservice.texts import each, gettext, mark
from keygauge_keyservice.values.field_types import NAME_LENGTH_MAX
from keygauge_keyservice.web.context import services

blueprint = Blueprint("tokens", __name__, url_prefix="/tokens")

SCOPES = {"read": mark("Read"), "manage": mark("Read and manage keys")}
LIFETIMES = {"30": mark("30 days"), "90": mark("90 days"), "365": mark("1 year"), "": mark("No expiration")}
_NOTICES = {
    "revoked": mark("Token revoked."),
    "sent-before": mark("This form was submitted before. Nothing was created."),
}


@blueprint.get("")
def show() -> str:
    """List the account's tokens."""
    return _page()


@blueprint.post("")
def create() -> str | Response | tuple[str, int]:
    """Create a token and show its secret, only in this response."""
    member = auth.require_change()
    name, scope, days = (request.form.get(field, "").strip() for field in ("name", "scope", "lifetime"))
    if wrong := _fault(name, scope, days):
        return _page(wrong=wrong), 422
    expires_at = datetime.now(UTC) + timedelta(days=int(days)) if days else None
    try:
        with services().connection() as connection:
            if not sessions.spend_form(connection, auth.current_session(), request.form.get("form_id", "")):
                return _back("sent-before")
            made, secret = tokens.create(
                connection,
                kind="account",
                account_id=auth.current_account_id(),
                name=name,
                scope=cast("Scope", scope),
                expires_at=expires_at,
                actor=member.email,
            )
    except Problem as problem:
        return _page(wrong=problem.errors[0].detail if problem.errors else problem.detail), problem.status
    return _page(made=made, secret=secret)


@blueprint.post("/<token_id>/revoke")
def revoke(token_id: str) -> Response:
    """Revoke a token."""
    member = auth.require_change()
    with services().connection() as connection:
        tokens.revoke(connection, token_id, actor=member.email, account_id=auth.current_account_id())
    return _back("revoked")


def _fault(name: str, scope: str, days: str) -> str | None:
    if not (1 <= len(name) <= NAME_LENGTH_MAX and name.isprintable()):
        return gettext("Give the token a name of at most %(most)s characters.", most=NAME_LENGTH_MAX)
    if scope not in SCOPES or days not in LIFETIMES:
        return gettext("Choose what the token may do and when it expires.")
    return (
        None if is_form_id(request.form.get("form_id", "")) else gettext("Reload the page and submit the form again.")
    )


def _page(*, wrong: str | None = None, made: tokens.Token | None = None, secret: str | None = None) -> str:
    with services().connection() as connection:
        listed = tokens.list_tokens(
            connection, account_id=auth.current_account_id(), only_valid=True, sort="-created", limit=200
        )
    return render_template(
        "portal/tokens.html",
        tokens=listed,
        made=made,
        secret=secret,
        wrong=wrong,
        form_id=secrets.token_hex(16),
        scopes=each(SCOPES),
        lifetimes=each(LIFETIMES),
        api_url=cookies.public_link("portal.overview.show").rstrip("/"),
        notice=each(_NOTICES).get(request.args.get("notice", "")),
    )


def _back(notice: str) -> Response:
    return redirect(url_for("portal.tokens.show", notice=notice), 303)
