"""The page of a key: its permissions, secrets and history; change and rotate it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from keygauge_keyservice.accounts import sessions
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.journal import audit
from keygauge_keyservice.keys import key_limits, keys, rotation
from keygauge_keyservice.keys.key_terms import KeyTerms
from keygauge_keyservice.limits.limit_terms import LimitList
from keygauge_keyservice.portal import audit_text, auth, date_range, limit_text, reader, unpriced
from keygauge_keyservice.portal.charts import timeline
from keygauge_keyservice.portal.charts.metric import METRICS
from keygauge_keyservice.portal.own_keys import require_own
from keygauge_keyservice.portal.pages import key_form, limit_form, overview
from keygauge_keyservice.portal.pages.keys import is_form_id
from keygauge_keyservice.portal.pages.limit_form import Row
from keygauge_keyservice.reading import attempt, given
from keygauge_keyservice.texts import each, gettext, mark
from keygauge_keyservice.usage import quota, usage
from keygauge_keyservice.web.context import services

blueprint = Blueprint("key", __name__, url_prefix="/keys/<key_id>")

_GRACES_S = {
    "0": mark("Immediately"),
    "3600": mark("In 1 hour"),
    "86400": mark("In 24 hours"),
    "604800": mark("In 7 days"),
}
_HISTORY = 10
_NOTICES = frozenset(("changed", "sent-before", "active", "disabled"))


@blueprint.get("")
def show(key_id: str) -> str:
    """Show a key."""
    return _page(key_id)


@blueprint.post("")
def change(key_id: str) -> Response | tuple[str, int]:
    """Change the key's terms."""
    member = auth.require_change()
    with services().connection() as connection:
        key = require_own(connection, key_id)
    document, day = key_form.document(request.form), request.form.get("expires_on", "").strip()
    if day != key_form.of_key(key)["expires_on"]:  # otherwise keep the time of day
        document["expires_at"] = f"{day}T00:00:00+00:00" if day else None
    terms, errors = attempt(KeyTerms, document)
    if terms is None:
        return _page(key_id, given=request.form, errors=key_form.messages(errors)), 422
    with services().connection() as connection:
        keys.change(connection, key_id, actor=member.email, **given(terms))
    return redirect(url_for("portal.key.show", key_id=key_id, notice="changed"), 303)


@blueprint.post("/limits")
def replace_limits(key_id: str) -> Response | tuple[str, int]:
    """Replace the key's own limits by the form's."""
    member = auth.require_change()
    with services().connection() as connection:
        require_own(connection, key_id)
        rows, document = limit_form.read(request.form, key_limits.find(connection, key_id))
    limits, errors = attempt(LimitList, document)
    if limits is None:
        return _page(key_id, rows=rows, wrong_limits=limit_form.messages(errors, rows)), 422
    with services().connection() as connection:
        keys.lock(connection, key_id)
        key_limits.replace(connection, key_id, limits.of_key(), actor=member.email)
    return redirect(url_for("portal.key.show", key_id=key_id, notice="changed"), 303)


@blueprint.post("/rotate")
def rotate(key_id: str) -> str | Response:
    """Rotate the key's secret and show the new one, only in this response."""
    member = auth.require_change()
    form_id, grace = request.form.get("form_id", ""), request.form.get("grace", "")
    with services().connection() as connection:
        require_own(connection, key_id)
        if grace not in _GRACES_S or not is_form_id(form_id):
            raise Problem(422, "bad_form", gettext("Choose when the old secret expires."))
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
    wrong_limits: Mapping[str, str] | None = None,
) -> str:
    """Render the page; invalid forms are shown as submitted."""
    with services().connection() as connection:
        key = require_own(connection, key_id)
        living = rotation.list_secrets(connection, key_id)
        limits = key_limits.find(connection, key_id)
        quotas = quota.find_of_key(connection, key.account_id, key_id)
        history = audit.find_entries(connection, key.account_id, subject=key_id, limit=_HISTORY)
        month = date_range.of_preset("30d", now=datetime.now(UTC), zone=reader.zone())
        selection = usage.Selection(account_id=key.account_id, start=month.start, end=month.end, key_id=key_id)
        points = usage.series(connection, bucket="day", zone=month.zone.key, **selection)
        totals = usage.totals(connection, **selection)
        is_unpriced = bool(unpriced.find(connection, totals, **selection))
    return render_template(
        "portal/key.html",
        key=key,
        secrets=living,
        history=history,
        audit_text=audit_text,
        limits=limits,
        describe=limit_text.describe,
        gauges=[overview.gauge(one) for one in quotas],
        rows=[*(limit_form.rows_of(limits) if rows is None else rows), *limit_form.EMPTY_ROWS],
        wrong_limits=wrong_limits or {},
        units=limit_form.units,
        pers=limit_form.pers,
        given=given or key_form.of_key(key),
        totals=totals,
        is_unpriced=is_unpriced,
        chart=timeline.draw_metric("key", METRICS["requests"], points, "day", zone=month.zone, links=())
        if totals.requests
        else "",
        errors=errors or {},
        graces=each(_GRACES_S),
        form_id=secrets.token_hex(16),
        notice=notice if (notice := request.args.get("notice")) in _NOTICES else None,
        now=datetime.now(UTC),
    )
