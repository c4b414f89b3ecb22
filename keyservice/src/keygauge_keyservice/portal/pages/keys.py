"""The keys page: list, create, disable, enable and delete the account's keys."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from keygauge_keyservice.accounts import accounts, sessions
from keygauge_keyservice.database import Connection
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.keys import key_limits, key_search, keys
from keygauge_keyservice.keys.key_terms import NewKey
from keygauge_keyservice.limits import definitions
from keygauge_keyservice.limits.limit_terms import LimitList
from keygauge_keyservice.portal import auth, limit_text
from keygauge_keyservice.portal.own_keys import require_own
from keygauge_keyservice.portal.pages import key_form, limit_form
from keygauge_keyservice.portal.tables import key_table
from keygauge_keyservice.reading import attempt, given
from keygauge_keyservice.texts import each, gettext, mark, ngettext
from keygauge_keyservice.web.context import services

blueprint = Blueprint("keys", __name__, url_prefix="/keys")

_LIFETIMES = {"": mark("Never"), "30": mark("In 30 days"), "90": mark("In 90 days"), "365": mark("In 1 year")}
_SELECTED_MAX = 500
is_form_id = re.compile(r"[0-9a-f]{32}", re.ASCII).fullmatch
_FILTERS = {"active": mark("Active"), "disabled": mark("Disabled"), "live": mark("Live"), "test": mark("Test")}


@blueprint.get("")
def show() -> str:
    """List the keys."""
    return _page()


@blueprint.get("/new")
def create_page() -> str:
    """Show the form for a new key."""
    auth.require_change()
    return _form()


@blueprint.post("")
def create() -> str | Response | tuple[str, int]:
    """Create a key and show its token, only in this response."""
    member, form = auth.require_change(), request.form
    lifetime, form_id = form.get("lifetime", ""), form.get("form_id", "")
    terms, errors = attempt(NewKey, key_form.document(form) | {"environment": form.get("environment")})
    rows, document = limit_form.read(form, ())
    limits, wrong_limits = attempt(LimitList, document)
    if terms is None or limits is None or lifetime not in _LIFETIMES or not is_form_id(form_id):
        return _form(
            errors=key_form.messages(errors),
            rows=rows,
            wrong_limits=limit_form.messages(wrong_limits, rows),
            is_wrong=True,
        ), 422
    try:
        with services().connection() as connection:
            if not sessions.spend_form(connection, auth.current_session(), form_id):
                return redirect(url_for("portal.keys.show", notice="sent-before"), 303)
            key, token = keys.create(
                connection,
                peppers=services().settings.peppers,
                account_id=auth.current_account_id(),
                actor=member.email,
                most=services().settings.account_keys_max,
                **given(terms)
                | {"expires_at": datetime.now(UTC) + timedelta(days=int(lifetime)) if lifetime else None},
            )
            if limits.limits:
                key_limits.replace(connection, key.id, limits.of_key(), actor=member.email)
    except Problem as problem:
        return _form(rows=rows, refusal=problem.detail), problem.status
    return render_template("portal/key_created.html", key=key, token=token)


@blueprint.post("/selected")
def change_many() -> str | Response:
    """Disable, enable or, after confirmation, delete all selected keys."""
    member, action = auth.require_change(), request.form.get("action", "")
    chosen = request.form.getlist("key")[:_SELECTED_MAX]
    with services().connection() as connection:
        found = [require_own(connection, key_id) for key_id in chosen]
        if action == "deleted" and found and "confirmed" not in request.form:
            return render_template("portal/keys_delete.html", keys=found)
        for key in found:
            if action == "deleted":
                keys.delete(connection, key.id, actor=member.email)
            elif action in {"active", "disabled"}:
                status: Literal["active", "disabled"] = "active" if action == "active" else "disabled"
                keys.set_status(connection, key.id, status, actor=member.email)
    return redirect(url_for("portal.keys.show", notice=action if found else None, count=len(found) or None), 303)


@blueprint.post("/<key_id>/status")
def set_status(key_id: str) -> Response:
    """Disable or enable a key; the metered services follow within about a second."""
    member = auth.require_change()
    status: Literal["active", "disabled"] = "active" if request.form.get("status") == "active" else "disabled"
    with services().connection() as connection:
        require_own(connection, key_id)
        keys.set_status(connection, key_id, status, actor=member.email)
    if request.form.get("next") == "key":
        return redirect(url_for("portal.key.show", key_id=key_id, notice=status), 303)
    return _back(key_id, status)


@blueprint.get("/<key_id>/delete")
def confirm_delete(key_id: str) -> str:
    """Ask for confirmation before deleting a key."""
    auth.require_change()
    with services().connection() as connection:
        key = require_own(connection, key_id)
    return render_template("portal/key_delete.html", key=key)


@blueprint.post("/<key_id>/delete")
def delete(key_id: str) -> Response:
    """Delete a key permanently."""
    member = auth.require_change()
    with services().connection() as connection:
        require_own(connection, key_id)
        keys.delete(connection, key_id, actor=member.email)
    return _back(key_id, "deleted")


def _form(
    *,
    errors: Mapping[str, str] | None = None,
    rows: Sequence[limit_form.Row] = (),
    wrong_limits: Mapping[str, str] | None = None,
    is_wrong: bool = False,
    refusal: str | None = None,
) -> str:
    return render_template(
        "portal/key_new.html",
        given=request.form,
        errors=errors or {},
        rows=[*rows, *limit_form.EMPTY_ROWS],
        wrong_limits=wrong_limits or {},
        is_wrong=is_wrong,
        refusal=refusal,
        units=limit_form.units,
        pers=limit_form.pers,
        lifetimes=each(_LIFETIMES),
        form_id=secrets.token_hex(16),
    )


def _page() -> str:
    account_id = auth.current_account_id()
    with services().connection() as connection:
        account = accounts.require(connection, account_id)
        search, page = key_table.read(request.args)
        listed = key_search.find(
            connection, account_id, search, limit=key_table.PAGE + 1, offset=(page - 1) * key_table.PAGE
        )
        total = key_search.count(connection, account_id)
        limits = definitions.of_keys(connection, [key.id for key in listed])
        notice = _notice(connection)
    return render_template(
        "portal/keys.html",
        account=account,
        keys=listed[: key_table.PAGE],
        total=total,
        limits=limits,
        describe=limit_text.describe,
        search=search,
        filters=each(_FILTERS),
        columns=key_table.columns(search),
        query_length_max=key_search.QUERY_LENGTH_MAX,
        query=key_table.query(search),
        page=page,
        has_more=len(listed) > key_table.PAGE,
        notice=notice,
        now=datetime.now(UTC),
    )


def _back(key_id: str, notice: str) -> Response:
    return redirect(url_for("portal.keys.show", notice=notice, key=key_id), 303)


def _notice(connection: Connection) -> str | None:
    """Return the message about the previous action; a forged URL cannot show a false one."""
    notice = request.args.get("notice", "")
    if notice == "sent-before":
        return gettext("This form was already submitted, so no other key was created.")
    number = request.args.get("count", "")
    if number.isascii() and number.isdigit() and len(number) < 5:  # noqa: PLR2004 - a few
        return _of_many(notice, int(number))
    try:
        key = require_own(connection, request.args.get("key", ""))
    except Problem:
        return None
    return _of_one(key) if key.status == notice else None


def _of_many(notice: str, number: int) -> str | None:
    match notice:
        case "active":
            return ngettext("%(num)s key enabled.", "%(num)s keys enabled.", number)
        case "disabled":
            return ngettext("%(num)s key disabled.", "%(num)s keys disabled.", number)
        case "deleted":
            return ngettext("%(num)s key deleted.", "%(num)s keys deleted.", number)
    return None


def _of_one(key: keys.Key) -> str:
    match key.status:
        case "active":
            return gettext("“%(key)s” enabled.", key=key.name)
        case "disabled":
            return gettext("“%(key)s” disabled.", key=key.name)
    return gettext("“%(key)s” deleted.", key=key.name)
