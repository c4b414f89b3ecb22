"""A member's own settings: time zone, format of dates and numbers, password, and current account."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from keygauge_keyservice.accounts import login_throttle, members, memberships, passwords, preferences, sessions
from keygauge_keyservice.accounts.preferences import Preferences
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.portal import auth, cookies, languages, reader
from keygauge_keyservice.texts import each, gettext
from keygauge_keyservice.values import time_zone
from keygauge_keyservice.web.context import services

_CLOCKS: Mapping[str, Literal[12, 24]] = {"12": 12, "24": 24}

blueprint = Blueprint("password", __name__, url_prefix="/password")


@blueprint.get("")
def show_password() -> str:
    """Show the forms."""
    return _page()


@blueprint.post("/preferences")
def save_preferences() -> Response | tuple[str, int]:
    """Save a time zone, format and language; empty ones follow the browser."""
    name, locale = request.form.get("zone", "").strip(), request.form.get("locale", "")
    language = request.form.get("language", "")
    hours = _CLOCKS.get(request.form.get("hours", ""))
    if name and time_zone.find(name) is None:
        return _page(wrong_zone=True), 422
    chosen = Preferences(
        name or None,
        locale if locale in reader.FORMATS else None,
        hours,
        language if language in languages.names() else None,
    )
    with services().connection() as connection:
        preferences.save(connection, auth.current_member().id, chosen)
    return redirect(url_for("portal.password.show_password", notice="saved"), 303)


@blueprint.post("/account")
def switch_account() -> Response:
    """Switch to another account in which the person is a member."""
    session, given = auth.current_session(), request.form.get("member", "")
    with services().connection() as connection:
        reachable = memberships.list_reachable(connection, session.member)
        member_id = next((one.member_id for one in reachable if str(one.member_id) == given), None)
        if member_id is None:
            raise Problem(404, "member_not_found", gettext("You can't switch to this account. Sign in to it instead."))
        sessions.end(connection, session)
        token = sessions.start(connection, member_id)
    response = redirect(url_for("portal.overview.show"), 303)
    auth.give_cookie(response, token)
    return response


@blueprint.post("")
def change_password() -> Response | tuple[str, int]:
    """Change the password; all other sessions end."""
    member, ip = auth.current_member(), request.remote_addr or ""
    new = request.form.get("new", "")
    if new != request.form.get("again", ""):
        return _page(wrong=gettext("The passwords don't match.")), 422
    with services().connection() as connection:
        known = cookies.known_device()
        device = known.id if member.id in known.members else None
        is_admitted = login_throttle.admit(connection, email=member.email, ip=ip, device=device)
        credentials = memberships.find_credentials(connection, member.email, member_id=member.id)
    old = request.form.get("old", "")[: passwords.LENGTH_MAX]
    old_hash = credentials[1] if credentials else None
    if not is_admitted or not passwords.verify(old_hash, old):
        return _refuse_old()
    try:
        with services().connection() as connection:
            if not memberships.is_current(connection, member.id, old_hash):  # changed while the old one was checked
                return _refuse_old()
            members.set_password(connection, member.email, new, actor=member.email, member_id=member.id)
            login_throttle.forgive(connection, email=member.email, ip=ip, device=device)
            token = sessions.start(connection, member.id)
    except Problem as problem:
        return _page(wrong=problem.detail), problem.status
    response = redirect(url_for("portal.password.show_password", notice="saved"), 303)
    auth.give_cookie(response, token)
    return response


def _refuse_old() -> tuple[str, int]:
    return _page(wrong=gettext("The current password is incorrect, or there were too many attempts.")), 422


def _page(*, wrong: str | None = None, wrong_zone: bool = False) -> str:
    with services().connection() as connection:
        chosen = preferences.find(connection, auth.current_member().id)
        reachable = memberships.list_reachable(connection, auth.current_member())
    return render_template(
        "portal/password.html",
        wrong=wrong,
        wrong_zone=wrong_zone,
        reachable=reachable,
        chosen=replace(chosen, zone=request.form.get("zone")) if wrong_zone else chosen,
        zones=sorted(time_zone.names()),
        roles=each(members.ROLE_NAMES),
        formats=reader.FORMATS,
        languages={name: reader.parse_locale(name).get_display_name(name) for name in languages.names()},
        is_saved=request.args.get("notice") == "saved",
    )
