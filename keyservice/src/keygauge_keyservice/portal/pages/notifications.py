"""The notifications page: channels with their events, and the latest deliveries."""

from __future__ import annotations

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from keygauge_keyservice.database import Connection
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.notices import channels, outbox
from keygauge_keyservice.notices.channels import Channel
from keygauge_keyservice.portal import auth
from keygauge_keyservice.texts import each, mark
from keygauge_keyservice.web.context import services

blueprint = Blueprint("notifications", __name__, url_prefix="/notifications")

FORMS = {"email": mark("E-mail"), "webhook": mark("Webhook"), "slack": mark("Slack"), "discord": mark("Discord")}
KINDS = {
    "quota": mark("Quota or budget at 50, 80, 95 and 100%"),
    "spike": mark("Key used far more than usual"),
    "new_address": mark("Key used from a new IP address"),
    "expiring": mark("Key about to expire"),
    "unused": mark("Key unused for 60 days"),
    "key_disabled": mark("Key disabled"),
    "invoice": mark("Invoice available"),
}
_NOTICES = {
    "added": mark("Notification added."),
    "removed": mark("Notification removed."),
    "tested": mark("Test sent. See deliveries below."),
}
_ID_MAX = 2**63 - 1


@blueprint.get("")
def show() -> str:
    """List channels and deliveries."""
    return _page()


@blueprint.post("")
def add() -> Response | tuple[str, int]:
    """Create a channel."""
    member = auth.require_change()
    try:
        with services().connection() as connection:
            made = channels.create(
                connection,
                account_id=auth.current_account_id(),
                form=request.form.get("form", ""),
                target=request.form.get("target", ""),
                kinds=request.form.getlist("kinds"),
                actor=member.email,
            )
    except Problem as problem:
        return _page(errors=problem.messages()), problem.status
    if made.secret:
        return _page(secret=made.secret), 200
    return redirect(url_for("portal.notifications.show", notice="added"), 303)


@blueprint.post("/<int:channel_id>/test")
def test(channel_id: int) -> Response:
    """Send a test to a channel."""
    auth.require_change()
    with services().connection() as connection:
        channel = _require(connection, channel_id)
        outbox.add_test(connection, account_id=channel.account_id, channel_id=channel.id)
    return redirect(url_for("portal.notifications.show", notice="tested"), 303)


@blueprint.post("/<int:channel_id>/rotate")
def rotate(channel_id: int) -> str:
    """Rotate a webhook's secret and show the new one, only in this response."""
    member = auth.require_change()
    with services().connection() as connection:
        channel = _require(connection, channel_id)
        rotated = channels.rotate_secret(connection, channel.account_id, channel.id, actor=member.email)
    return _page(secret=rotated.secret)


@blueprint.post("/<int:channel_id>/remove")
def remove(channel_id: int) -> Response:
    """Delete a channel."""
    member = auth.require_change()
    with services().connection() as connection:
        channel = _require(connection, channel_id)
        channels.delete(connection, channel.account_id, channel.id, actor=member.email)
    return redirect(url_for("portal.notifications.show", notice="removed"), 303)


def _require(connection: Connection, channel_id: int) -> Channel:
    return channels.require(connection, auth.current_account_id(), min(channel_id, _ID_MAX))


def _page(*, errors: list[str] | None = None, secret: str | None = None) -> str:
    account_id = auth.current_account_id()
    with services().connection() as connection:
        listed = channels.list_channels(connection, account_id)
        deliveries = outbox.list_deliveries(connection, account_id)
    return render_template(
        "portal/notifications.html",
        channels=listed,
        deliveries=deliveries,
        forms=each(FORMS),
        kinds=each(KINDS),
        errors=errors,
        given=request.form if errors else {},
        chosen=request.form.getlist("kinds") if errors else list(KINDS),
        secret=secret,
        has_mail_server=services().settings.has_mail_server,
        notice=each(_NOTICES).get(request.args.get("notice", "")),
    )
