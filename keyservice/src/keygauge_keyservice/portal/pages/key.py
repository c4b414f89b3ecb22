"""The page of one key: what it may do, its secrets and history; change and rotate it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from keygauge_keyservice.accounts import sessions
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.fields import Fields
from keygauge_keyservice.journal import audit
from keygauge_keyservice.keys import key_limits, key_terms, keys, rotation
from keygauge_keyservice.keys.keys import Key
from keygauge_keyservice.limits.limit_terms import read_key_limits
from keygauge_keyservice.portal import audit_text, auth
from keygauge_keyservice.portal.pages import limit_form, overview
from keygauge_keyservice.portal.pages.keys import is_form_id, require_own
from keygauge_keyservice.portal.pages.limit_form import Row
from keygauge_keyservice.usage import quota
from keygauge_keyservice.web.context import services

blueprint = Blueprint("key", __name__, url_prefix="/keys/<key_id>")

_GRACES_S = {"0": "At once", "3600": "After an hour", "86400": "After a day", "604800": "After a week"}
_LISTS = ("scopes", "routes", "networks", "models")
_HISTORY = 10


@blueprint.get("")
def show(key_id: str) -> str:
    """Show a key."""
    return _page(key_id)


@blueprint.post("")
def change(key_id: str) -> Response | tuple[str, int]:
    """Change what the key may be used for."""
    member = auth.require_change()
    with services().connection() as connection:
        key = require_own(connection, key_id)
    given = Fields(_document(request.form, key))
    terms = key_terms.read_terms(given, is_new=False)
    if given.errors:
        errors = {error.field.partition("[")[0]: error.detail for error in given.errors}
        return _page(key_id, given=request.form, errors=errors), 422
    with services().connection() as connection:
        keys.change(connection, key_id, actor=member.email, by_operator=member.is_operator, **terms)
    return redirect(url_for("portal.key.show", key_id=key_id, notice="changed"), 303)


@blueprint.post("/limits")
def replace_limits(key_id: str) -> Response | tuple[str, int]:
    """Put the form's limits in the place of those that the key has of its own."""
    member = auth.require_change()
    with services().connection() as connection:
        require_own(connection, key_id)
        rows, given = limit_form.read(request.form, key_limits.find(connection, key_id))
    limits = read_key_limits(given)
    if given.errors:
        wrong = [f"{error.field.removeprefix('limits')}: {error.detail}" for error in given.errors]
        return _page(key_id, rows=rows, wrong_limits=wrong), 422
    with services().connection() as connection:
        keys.lock(connection, key_id)
        key_limits.replace(connection, key_id, limits, actor=member.email, by_operator=member.is_operator)
    return redirect(url_for("portal.key.show", key_id=key_id, notice="changed"), 303)


@blueprint.post("/rotate")
def rotate(key_id: str) -> str | Response:
    """Give the key another secret and show it: in this answer and never again."""
    member = auth.require_change()
    form_id, grace = request.form.get("form_id", ""), request.form.get("grace", "")
    if grace not in _GRACES_S or not is_form_id(form_id):
        raise Problem(422, "bad_form", "Choose from the list when the old secret ends.")
    with services().connection() as connection:
        require_own(connection, key_id)
        if not sessions.spend_form(connection, auth.current_session(), form_id):
            return redirect(url_for("portal.key.show", key_id=key_id, notice="sent-before"), 303)
        done = rotation.rotate(
            connection,
            key_id,
            peppers=services().settings.peppers,
            rotation_id=form_id,
            grace_s=int(grace),
            actor=member.email,
        )
        old = [secret for secret in rotation.list_secrets(connection, key_id) if secret.expires_at]
    return render_template("portal/key_created.html", key=done.key, token=done.token, is_rotated=True, old=old)


def _page(
    key_id: str,
    *,
    given: Mapping[str, str] | None = None,
    errors: Mapping[str, str] | None = None,
    rows: Sequence[Row] | None = None,
    wrong_limits: Sequence[str] = (),
) -> str:
    """Write the page; with forms that were sent and are wrong, as they were sent."""
    with services().connection() as connection:
        key = require_own(connection, key_id)
        living = rotation.list_secrets(connection, key_id)
        limits = key_limits.find(connection, key_id)
        quotas = [one for one in quota.find_quotas(connection, key.account_id) if one.key_id == key_id]
        history = audit.find_entries(connection, key.account_id, subject=key_id, limit=_HISTORY)
    return render_template(
        "portal/key.html",
        key=key,
        secrets=living,
        history=history,
        audit_text=audit_text,
        limits=limits,
        describe=overview.describe,
        gauges=[overview.gauge(one) for one in quotas],
        rows=[*(limit_form.rows_of(limits) if rows is None else rows), *limit_form.SPARE_ROWS],
        wrong_limits=wrong_limits,
        units=limit_form.units(),
        pers=limit_form.pers,
        given=given or _form(key),
        errors=errors or {},
        graces=_GRACES_S,
        form_id=secrets.token_hex(16),
        notice=request.args.get("notice"),
        now=datetime.now(UTC),
    )


def _form(key: Key) -> dict[str, str]:
    """Write a key's terms as the form's fields."""
    return {
        "name": key.name,
        "app": key.app or "",
        "expires_on": key.expires_at.astimezone(UTC).date().isoformat() if key.expires_at else "",
        "rotate_every_days": str(key.rotate_every_days or ""),
        **{name: "\n".join(getattr(key, name)) for name in _LISTS},
    }


def _document(form: Mapping[str, str], key: Key) -> dict[str, Any]:
    """Write the form's fields as the API would get them."""
    days, day = form.get("rotate_every_days", "").strip(), form.get("expires_on", "").strip()
    document: dict[str, Any] = {
        "name": form.get("name", "").strip(),
        "app": form.get("app", "").strip() or None,
        "rotate_every_days": int(days) if days.isascii() and days.isdigit() and len(days) < 9 else days or None,  # noqa: PLR2004 - an int
        **{name: [line.strip() for line in form.get(name, "").splitlines() if line.strip()] for name in _LISTS},
    }
    if day != _form(key)["expires_on"]:  # else the time of day is kept
        document["expires_at"] = f"{day}T00:00:00+00:00" if day else None
    return document
