"""Pages to sign in and out, and the choice of a light or dark theme."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from keygauge_keyservice.accounts import login_throttle, members, memberships, passwords, sessions
from keygauge_keyservice.portal import auth, cookies
from keygauge_keyservice.texts import gettext, mark
from keygauge_keyservice.web.context import services

blueprint = Blueprint("sign_in", __name__)

_WRONG = mark("Incorrect e-mail address or password.")
_MEMBERSHIPS_MAX = 20  # per e-mail address; each has its own password, and checking one is slow
_THEMES = ("light", "dark")
_THEME_AGE_S = 365 * 86400


@blueprint.get("/sign-in")
def show() -> str | Response:
    """Show the form."""
    if auth.find_session() is not None:
        return redirect(local_page(request.args.get("next")), 303)
    return page(next_page=request.args.get("next"))


@blueprint.post("/sign-in")
def submit() -> Response | tuple[str, int, dict[str, str]]:
    """Sign in; an unknown address gets the same response as a wrong password, and as slowly."""
    email = members.normalise_email(request.form.get("email", ""))
    password = request.form.get("password", "")
    if not members.is_email(email) or len(password) > passwords.LENGTH_MAX:
        return _refuse(gettext(_WRONG), 422, email)
    ip, is_admitted = request.remote_addr or "", False
    for device, credentials in _rounds(email):
        with services().connection() as connection:
            if not login_throttle.admit(connection, email=email, ip=ip, device=device):
                continue
        is_admitted = True
        # Outside the transaction, as hashing is slow.
        found = next((one for one in credentials if passwords.verify(one[1], password)), None)
        if found is not None and (response := _enter(*found, email=email, ip=ip, device=device)):
            return response
    if is_admitted:
        return _refuse(gettext(_WRONG), 422, email)
    minutes = login_throttle.WINDOW_S // 60
    return _refuse(gettext("Too many attempts. Try again in %(minutes)s minutes.", minutes=minutes), 429, email)


def _rounds(email: str) -> Iterator[tuple[str | None, Sequence[tuple[int, str | None]]]]:
    """Yield this browser with the credentials that it has signed in with before, then None with all others."""
    with services().connection() as connection:
        credentials = memberships.list_credentials(connection, email)[:_MEMBERSHIPS_MAX]
    device = cookies.known_device()
    known = [one for one in credentials if one[0] in device.members]
    others = [one for one in credentials if one[0] not in device.members]
    if known:
        yield device.id, known
    if others or not known:
        yield None, others or [(0, None)]


def _enter(member_id: int, password_hash: str | None, *, email: str, ip: str, device: str | None) -> Response | None:
    """Start a session, or return None if the password was changed or the member removed while it was checked."""
    before = auth.find_session()
    with services().connection() as connection:
        if not memberships.is_current(connection, member_id, password_hash):
            return None
        login_throttle.forgive(connection, email=email, ip=ip, device=device)
        if before is not None:
            sessions.end(connection, before)
        token = sessions.start(connection, member_id)
    response = redirect(local_page(request.form.get("next")), 303)
    auth.give_cookie(response, token)
    cookies.remember_device(response, member_id)
    return response


@blueprint.post("/sign-out")
def leave() -> Response:
    """Sign out; the session ends on the server, not only in the browser."""
    with services().connection() as connection:
        sessions.end(connection, auth.current_session())
    response = redirect(url_for("portal.sign_in.show"), 303)
    auth.take_cookie(response)
    return response


@blueprint.post("/theme")
def set_theme() -> Response:
    """Save a light or dark theme; by default, pages follow the system."""
    response = redirect(local_page(request.form.get("next")), 303)
    theme = request.form.get("theme")
    if theme in _THEMES:
        cookies.give(response, "keygauge_theme", theme, max_age_s=_THEME_AGE_S)
    return response


def page(notice: str | None = None, *, email: str = "", next_page: str | None = None) -> str:
    """Render the form."""
    sign_on = services().sign_on
    return render_template(
        "portal/sign_in.html",
        notice=notice,
        email=email,
        next=next_page,
        provider=sign_on.provider.name if sign_on else None,
    )


def _refuse(notice: str, status: int, email: str) -> tuple[str, int, dict[str, str]]:
    shown = page(notice, email=email, next_page=request.form.get("next"))
    return shown, status, {"Retry-After": str(login_throttle.WINDOW_S)} if status == 429 else {}  # noqa: PLR2004 - HTTP


def local_page(target: str | None) -> str:
    """Return a local page to redirect to; links to other sites are replaced by the overview."""
    home = url_for("portal.overview.show")
    if not target or not target.startswith("/") or target.startswith("//") or "\\" in target:
        return home
    parts = urlsplit(target)
    has_control = any(ord(character) <= ord(" ") for character in target)
    return home if parts.scheme or parts.netloc or has_control else target
