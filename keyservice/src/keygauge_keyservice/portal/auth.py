"""Checks before every page: the session, and whether a form comes from our own page."""

from __future__ import annotations

import hmac
import secrets
from typing import cast
from urllib.parse import urlsplit

from flask import Blueprint, Response, g, redirect, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from keygauge_keyservice.accounts import sessions
from keygauge_keyservice.accounts.members import Member
from keygauge_keyservice.accounts.sessions import Session
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.portal import cookies, languages
from keygauge_keyservice.texts import gettext
from keygauge_keyservice.web.context import services

_COOKIE = "keygauge_session"
_PUBLIC = frozenset(
    (
        *("portal.sign_in.show", "portal.sign_in.submit", "portal.sign_in.set_theme", "portal.assets.read"),
        *("portal.invitation.show", "portal.invitation.accept"),
        *("portal.single_sign_on.begin", "portal.single_sign_on.finish"),
    )
)
_OPERATORS = "portal.operator"  # the blueprint of pages for operators only
_EVERYONES = frozenset(("portal.sign_in", "portal.password"))  # blueprints of pages that concern no account
_SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))


def install(portal: Blueprint) -> None:
    """Check every request to the portal."""
    portal.before_request(_admit)


def current_session() -> Session:
    """Return the current member's session; only for pages that require a sign-in."""
    return cast("Session", g.session)


def current_member() -> Member:
    """Return the current member."""
    return current_session().member


def current_account_id() -> str:
    """Return the account that all queries are confined to: the member's own, or the one that an operator views."""
    return cast("str", current_member().account_id)


def require_change() -> Member:
    """Return the current member, who must have permission to make changes.

    Raises:
        Problem: 403 for viewers.
    """
    member = current_member()
    if not member.may_change:
        raise Problem(
            403, "viewer", gettext("You have read-only access to this account. Ask an owner to change your role.")
        )
    return member


def require_manager() -> Member:
    """Return the current member, who must have permission to manage members.

    Raises:
        Problem: 403 for anyone but owners.
    """
    member = current_member()
    if not member.may_manage:
        raise Problem(403, "no_owner", gettext("Only owners of this account can do this."))
    return member


def signed_in() -> Session | None:
    """Return the current member's session, or None on pages that do not require one."""
    return cast("Session | None", g.get("session"))


def find_session() -> Session | None:
    """Return the session of the request's cookie, or None."""
    if not (token := cookies.read(_COOKIE)):
        return None
    with services().connection() as connection:
        return sessions.find(connection, token)


def give_cookie(response: BaseResponse, token: str) -> None:
    """Sign a browser in."""
    cookies.give(response, _COOKIE, token, max_age_s=sessions.LIFETIME_S)


def take_cookie(response: BaseResponse) -> None:
    """Sign a browser out."""
    cookies.take(response, _COOKIE)


def _admit() -> BaseResponse | None:
    g.session = None
    is_change = request.method not in _SAFE_METHODS
    if is_change and not _is_same_origin():
        raise Problem(403, "cross_site", gettext("This form was submitted from another site and was rejected."))
    if is_change and any("\0" in value for value in request.form.values()):
        raise Problem(422, "bad_form", gettext("The form contains an invalid character. Go back and correct it."))
    if request.endpoint in _PUBLIC:
        return None
    g.session = find_session()
    if g.session is None:
        return _to_sign_in()
    languages.choose()
    if is_change and not _is_csrf_token(request.form.get("csrf", ""), g.session):
        raise Problem(
            403, "stale_form", gettext("This form has expired. Go back, reload the page and submit it again.")
        )
    return _confine(g.session.member)


def _confine(member: Member) -> BaseResponse | None:
    """Refuse members on operators' pages, and operators on an account's pages unless they view an account."""
    if request.blueprint == _OPERATORS:
        if not member.is_operator:
            raise Problem(404, "not_found", gettext("This page doesn't exist."))
        return None
    if request.blueprint in _EVERYONES:
        return None
    if member.is_operator and request.method not in _SAFE_METHODS:
        raise Problem(
            403, "read_only_view", gettext("Viewing an account as the customer is read-only. Exit to make changes.")
        )
    if member.account_id is None:
        return cast("Response", redirect(url_for("portal.operator.show"), 303))
    return None


def csrf_token(session: Session) -> str:
    """Return the session's CSRF token with a new mask each time, so that compression reveals nothing about it."""
    token = session.csrf_token.encode()
    mask = secrets.token_bytes(len(token))
    return (mask + bytes(one ^ other for one, other in zip(mask, token, strict=True))).hex()


def _is_csrf_token(text: str, session: Session) -> bool:
    try:
        masked = bytes.fromhex(text)
    except ValueError:
        return False
    half = len(masked) // 2
    token = bytes(one ^ other for one, other in zip(masked[:half], masked[half:], strict=False))
    return hmac.compare_digest(token, session.csrf_token.encode())


def _is_same_origin() -> bool:
    """Return whether a form was sent from one of our pages; clients that send neither header are accepted."""
    fetch_site = request.headers.get("Sec-Fetch-Site")
    if fetch_site is not None:  # browsers set it over https and on localhost, even if a proxy changes Host
        return fetch_site in {"same-origin", "none"}
    origin = request.headers.get("Origin")
    return origin is None or urlsplit(origin).netloc == cookies.public_host()


def is_from_our_page() -> bool:
    """Return whether a link was followed from one of our pages, that is, intentionally; False if in doubt."""
    fetch_site = request.headers.get("Sec-Fetch-Site")
    if fetch_site is not None:
        return fetch_site == "same-origin"
    return urlsplit(request.headers.get("Referer", "")).netloc == cookies.public_host()


def _to_sign_in() -> Response:
    target = request.full_path.rstrip("?") if request.method == "GET" else None
    location = url_for("portal.sign_in.show", next=None if target == "/" else target)
    return cast("Response", redirect(location, 303))
