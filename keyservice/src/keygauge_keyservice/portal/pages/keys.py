"""The keys page: list, create, disable, enable and delete the account's keys."""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from keygauge.key import Environment
from keygauge_keyservice.accounts import accounts, sessions
from keygauge_keyservice.database import Connection
from keygauge_keyservice.errors import Problem, not_found
from keygauge_keyservice.fields import Fields
from keygauge_keyservice.keys import key_search, keys
from keygauge_keyservice.keys.keys import Key
from keygauge_keyservice.limits import definitions
from keygauge_keyservice.portal import auth
from keygauge_keyservice.portal.pages import overview
from keygauge_keyservice.portal.tables import key_table
from keygauge_keyservice.web.context import services

blueprint = Blueprint("keys", __name__, url_prefix="/keys")

_LIFETIMES_DAYS = {"": None, "30": 30, "90": 90, "365": 365}
is_form_id = re.compile(r"[0-9a-f]{32}", re.ASCII).fullmatch
_NOTICES = {"active": "is enabled", "disabled": "is disabled", "deleted": "is deleted"}


@blueprint.get("")
def show() -> str:
    """List the keys, with the form for another one."""
    return _page()


@blueprint.post("")
def create() -> str | Response | tuple[str, int]:
    """Create a key and show its token: in this answer and never again."""
    member = auth.require_change()
    fields = Fields({"name": request.form.get("name", "").strip(), "environment": request.form.get("environment")})
    name = fields.name("name")
    environment: Environment = fields.choice("environment", get_args(Environment), default="live")
    lifetime_days = _LIFETIMES_DAYS.get(request.form.get("lifetime", ""))
    form_id = request.form.get("form_id", "")
    if fields.errors or not is_form_id(form_id):
        return _page(wrong_name=request.form.get("name", "")), 422
    with services().connection() as connection:
        if not sessions.spend_form(connection, auth.current_session(), form_id):
            return redirect(url_for("portal.keys.show", notice="sent-before"), 303)
        key, token = keys.create(
            connection,
            peppers=services().settings.peppers,
            account_id=auth.current_account_id(),
            name=name,
            environment=environment,
            expires_at=datetime.now(UTC) + timedelta(days=lifetime_days) if lifetime_days else None,
            actor=member.email,
        )
    return render_template("portal/key_created.html", key=key, token=token)


@blueprint.post("/<key_id>/status")
def set_status(key_id: str) -> Response:
    """Disable or enable a key; the metered services follow within about a second."""
    member = auth.require_change()
    status: Literal["active", "disabled"] = "active" if request.form.get("status") == "active" else "disabled"
    with services().connection() as connection:
        require_own(connection, key_id)
        keys.set_status(connection, key_id, status, actor=member.email, by_operator=member.is_operator)
    return _back(key_id, status)


@blueprint.get("/<key_id>/delete")
def confirm_delete(key_id: str) -> str:
    """Ask before a key is deleted."""
    auth.require_change()
    with services().connection() as connection:
        key = require_own(connection, key_id)
    return render_template("portal/key_delete.html", key=key)


@blueprint.post("/<key_id>/delete")
def delete(key_id: str) -> Response:
    """Delete a key for good."""
    member = auth.require_change()
    with services().connection() as connection:
        require_own(connection, key_id)
        keys.delete(connection, key_id, actor=member.email)
    return _back(key_id, "deleted")


def require_own(connection: Connection, key_id: str) -> Key:
    """Return a key of the member's account, deleted ones too.

    Raises:
        Problem: 404, there is no such key here; another account's looks the same.
    """
    key = keys.find(connection, key_id) if key_id.isalnum() else None
    if key is None or key.account_id != auth.current_account_id():
        raise not_found("key", key_id)
    return key


def _page(*, wrong_name: str | None = None) -> str:
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
        describe=overview.describe,
        search=search,
        filters=key_search.FILTERS,
        columns=key_table.columns(search),
        query_length_max=key_search.QUERY_LENGTH_MAX,
        query=key_table.query(search),
        page=page,
        has_more=len(listed) > key_table.PAGE,
        notice=notice,
        wrong_name=wrong_name,
        form_id=secrets.token_hex(16),
        now=datetime.now(UTC),
    )


def _back(key_id: str, notice: str) -> Response:
    return redirect(url_for("portal.keys.show", notice=notice, key=key_id), 303)


def _notice(connection: Connection) -> str | None:
    """Say what the page before this one did; an address made up by others says nothing false."""
    notice = request.args.get("notice", "")
    if notice == "sent-before":
        return "That form was sent before, so no other key was created."
    try:
        key = require_own(connection, request.args.get("key", ""))
    except Problem:
        return None
    return f"“{key.name}” {_NOTICES[notice]}." if key.status == notice else None
