"""Sign in through the OpenID Connect provider: leave for it, and come back."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import asdict

from flask import Blueprint, make_response, redirect, request, url_for
from itsdangerous import BadData, URLSafeTimedSerializer
from werkzeug.wrappers import Response

from keygauge_keyservice.accounts import members, sessions
from keygauge_keyservice.accounts.oidc import NO_ATTEMPT, Attempt, OidcError, SignOn
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.portal import auth
from keygauge_keyservice.portal.pages import sign_in
from keygauge_keyservice.web.context import services

blueprint = Blueprint("single_sign_on", __name__, url_prefix="/sign-in/sso")

_log = logging.getLogger(__name__)
_COOKIE = "keygauge_sso"
_ATTEMPT_S = 600
_PURPOSE = hashlib.sha256(b"keygauge: attempts to sign in").digest()


@blueprint.get("")
def begin() -> Response | tuple[str, int, dict[str, str]]:
    """Leave for the provider."""
    try:
        address, attempt = _require().begin(_redirect_uri())
    except OidcError as error:
        return _refuse(error)
    response = redirect(address, 303)
    kept = asdict(attempt) | {"next": sign_in.local_page(request.args.get("next"))}
    response.set_cookie(
        _COOKIE, _signer().dumps(kept), max_age=_ATTEMPT_S, httponly=True, samesite="Lax", secure=request.is_secure
    )
    return response


@blueprint.get("/done")
def finish() -> Response | tuple[str, int, dict[str, str]]:
    """Come back: who the provider vouches for is signed in, when that is a member."""
    try:
        kept = _signer().loads(request.cookies.get(_COOKIE, ""), max_age=_ATTEMPT_S)
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
    response.delete_cookie(_COOKIE, httponly=True, samesite="Lax", secure=request.is_secure)
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


def _signer() -> URLSafeTimedSerializer:
    """Return the signer of attempts; its key is derived from the newest pepper, which all processes share."""
    peppers = services().settings.peppers
    return URLSafeTimedSerializer(
        peppers.hash(_PURPOSE, peppers.newest), salt="sso", signer_kwargs={"digest_method": hashlib.sha256}
    )


def _redirect_uri() -> str:
    return url_for("portal.single_sign_on.finish", _external=True)


def _refuse(error: OidcError) -> tuple[str, int, dict[str, str]]:
    _log.warning(
        "a sign-in through the provider failed: %s", repr(error.__cause__) if error.__cause__ else error.detail
    )
    return sign_in.page(error.detail), error.status, {}
