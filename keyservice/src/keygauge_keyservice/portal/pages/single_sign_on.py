"""Sign in through the OpenID Connect provider: leave for it, and come back."""

from __future__ import annotations

import logging
from dataclasses import asdict

from flask import Blueprint, make_response, redirect, request
from itsdangerous import BadData
from werkzeug.wrappers import Response

from keygauge_keyservice.accounts import members, sessions
from keygauge_keyservice.accounts.oidc import NO_ATTEMPT, Attempt, OidcError, SignOn
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.portal import auth, cookies
from keygauge_keyservice.portal.pages import sign_in
from keygauge_keyservice.web.context import services

blueprint = Blueprint("single_sign_on", __name__, url_prefix="/sign-in/sso")

_log = logging.getLogger(__name__)
_COOKIE = "keygauge_sso"
_ATTEMPT_S = 600


@blueprint.get("")
def begin() -> Response | tuple[str, int, dict[str, str]]:
    """Leave for the provider."""
    try:
        address, attempt = _require().begin(_redirect_uri())
    except OidcError as error:
        return _refuse(error)
    response = redirect(address, 303)
    kept = asdict(attempt) | {"next": sign_in.local_page(request.args.get("next"))}
    cookies.give(response, _COOKIE, cookies.signer("sso").dumps(kept), max_age_s=_ATTEMPT_S)
    return response


@blueprint.get("/done")
def finish() -> Response | tuple[str, int, dict[str, str]]:
    """Come back: who the provider vouches for is signed in, when that is a member."""
    try:
        kept = cookies.signer("sso").loads(cookies.read(_COOKIE), max_age=_ATTEMPT_S)
    except BadData:
        kept = asdict(NO_ATTEMPT)
    target = sign_in.local_page(kept.pop("next", None))
    try:
        email = _require().finish(Attempt(**kept), _redirect_uri(), request.args)
        token = _start(members.normalise_email(email))
    except OidcError as error:
        response: Response = make_response(_refuse(error))
    else:
        response = redirect(target, 303)
        auth.give_cookie(response, token)
    cookies.take(response, _COOKIE)
    return response


def _start(email: str) -> str:
    with services().connection() as connection:
        member = members.find_by_email(connection, email)
        if member is None:
            raise OidcError(403, f"{email} is not a member. Ask an owner of your account for an invitation.")
        return sessions.start(connection, member.id)


def _require() -> SignOn:
    sign_on = services().sign_on
    if sign_on is None:
        raise Problem(404, "not_found", "This page doesn't exist.")
    return sign_on


def _redirect_uri() -> str:
    return cookies.public_link("portal.single_sign_on.finish")


def _refuse(error: OidcError) -> tuple[str, int, dict[str, str]]:
    _log.warning(
        "a sign-in through the provider failed: %s", repr(error.__cause__) if error.__cause__ else error.detail
    )
    return sign_in.page(error.detail), error.status, {}
