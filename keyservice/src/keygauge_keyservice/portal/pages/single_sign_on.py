"""Single sign-on through the OpenID Connect provider: the redirect to it, and back."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import TYPE_CHECKING

from flask import Blueprint, make_response, redirect, request
from itsdangerous import BadData
from werkzeug.wrappers import Response

from keygauge_keyservice.accounts import invitations, members, sessions
from keygauge_keyservice.accounts.oidc import NO_ATTEMPT, Attempt, OidcError
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.portal import auth, cookies
from keygauge_keyservice.portal.pages import sign_in
from keygauge_keyservice.texts import gettext
from keygauge_keyservice.web.context import services

if TYPE_CHECKING:
    from keygauge_keyservice.accounts.sign_on import SignOn

blueprint = Blueprint("single_sign_on", __name__, url_prefix="/sign-in/sso")

_log = logging.getLogger(__name__)
_COOKIE = "keygauge_sso"
_ATTEMPT_S = 600


@blueprint.get("")
def begin() -> Response | tuple[str, int, dict[str, str]]:
    """Redirect to the provider."""
    try:
        address, attempt = _require().begin(_redirect_uri())
    except OidcError as error:
        return _refuse(error)
    response = redirect(address, 303)
    kept = asdict(attempt) | {
        "next": sign_in.local_page(request.args.get("next")),
        # Not from another site's link, which could sign its reader in to a stranger's account.
        "invitation": request.args.get("invitation") if auth.is_from_our_page() else None,
    }
    cookies.give(response, _COOKIE, cookies.signer("sso").dumps(kept), max_age_s=_ATTEMPT_S)
    return response


@blueprint.get("/done")
def finish() -> Response | tuple[str, int, dict[str, str]]:
    """Complete the sign-in of a person whom the provider has authenticated, if that is a member."""
    try:
        kept = cookies.signer("sso").loads(cookies.read(_COOKIE), max_age=_ATTEMPT_S)
    except BadData:
        kept = asdict(NO_ATTEMPT)
    target, invitation = sign_in.local_page(kept.pop("next", None)), kept.pop("invitation", None)
    try:
        email = members.normalise_email(_require().finish(Attempt(**kept), _redirect_uri(), request.args))
        token = _start(email, invitation)
    except OidcError as error:
        response: Response = make_response(_refuse(error))
    else:
        response = redirect(target, 303)
        auth.give_cookie(response, token)
    cookies.take(response, _COOKIE)
    return response


def _start(email: str, invitation: str | None) -> str:
    """Start a session by invitation, by the membership that this browser is signed in to, or by a verified one."""
    before = auth.find_session()
    with services().connection() as connection:
        if invitation:
            try:
                return sessions.start(connection, invitations.accept_verified(connection, invitation, email).id)
            except Problem as problem:
                raise OidcError(problem.status, problem.detail) from problem
        if before is not None and before.member.email == email:
            members.verify(connection, before.member)
            return sessions.start(connection, before.member.id)
        found = members.list_memberships(connection, email, only_verified=True)
        if not found:
            raise OidcError(
                403,
                gettext(
                    "%(email)s is not a member. Ask an owner of your account for an invitation; "
                    "if you have a password, sign in with it, then use single sign-on once in the same browser.",
                    email=email,
                ),
            )
        return sessions.start(connection, found[0].id)


def _require() -> SignOn:
    sign_on = services().sign_on
    if sign_on is None:
        raise Problem(404, "not_found", gettext("This page doesn't exist."))
    return sign_on


def _redirect_uri() -> str:
    return cookies.public_link("portal.single_sign_on.finish")


def _refuse(error: OidcError) -> tuple[str, int, dict[str, str]]:
    _log.warning(
        "a sign-in through the provider failed: %s", repr(error.__cause__) if error.__cause__ else error.detail
    )
    return sign_in.page(error.detail), error.status, {}
