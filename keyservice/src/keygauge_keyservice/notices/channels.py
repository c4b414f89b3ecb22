"""Notification channels: where an account is notified of what."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, TypeAlias, get_args
from urllib.parse import urlsplit

from psycopg.rows import class_row

from keygauge_keyservice.accounts import accounts, members
from keygauge_keyservice.database import Connection
from keygauge_keyservice.errors import FieldError, Problem, invalid, not_found
from keygauge_keyservice.journal import audit
from keygauge_keyservice.texts import gettext

Form: TypeAlias = Literal["email", "webhook", "slack", "discord"]
Kind: TypeAlias = Literal["quota", "spike", "new_address", "expiring", "unused", "key_disabled", "invoice"]
KINDS: tuple[Kind, ...] = get_args(Kind)
CHANNELS_MAX = 20
_TARGET_LENGTH_MAX = 500
OLD_SECRET_LASTS = timedelta(hours=24)
_SECRET_BYTES = 24
_HOSTS = {"slack": "hooks.slack.com", "discord": "discord.com"}


@dataclass(frozen=True)
class Channel:
    """A target to which an account's notifications of some kinds are sent."""

    id: int
    account_id: str
    form: Form
    target: str
    secret: str | None = field(repr=False)
    old_secret: str | None = field(repr=False)  # also signs for `OLD_SECRET_LASTS` after `rotated_at`
    rotated_at: datetime | None
    kinds: list[str]
    created_by: str
    created_at: datetime


def create(
    connection: Connection, *, account_id: str, form: str, target: str, kinds: Sequence[str], actor: str
) -> Channel:
    """Create a channel; a webhook gets a signing secret.

    Raises:
        Problem: 404 if there is no such account; 409 if it is suspended; 422 if the target or the kinds are invalid.
    """
    target = members.normalise_email(target) if form == "email" else target.strip()
    with connection.transaction():
        accounts.require_active(connection, account_id)
        if errors := _errors(connection, account_id, form, target, kinds):
            raise invalid(*errors)
        secret = _make_secret() if form == "webhook" else None
        with connection.cursor(row_factory=class_row(Channel)) as cursor:
            [made] = cursor.execute(
                "/* channels.create */ INSERT INTO notice_channel "
                "(account_id, form, target, secret, kinds, created_by) VALUES (%s, %s, %s, %s, %s, %s) RETURNING *",
                (account_id, form, target, secret, sorted(set(kinds)), actor),
            ).fetchall()
        after = {"type": form, "target": shown(target), "events": made.kinds}
        audit.append(
            connection,
            account_id=account_id,
            actor=actor,
            action="notification.create",
            subject=str(made.id),
            after=after,
        )
    return made


def list_channels(
    connection: Connection, account_id: str, *, after: int | None = None, limit: int | None = None
) -> list[Channel]:
    """Return up to `limit` of an account's channels after one, oldest first."""
    with connection.cursor(row_factory=class_row(Channel)) as cursor:
        return cursor.execute(
            "/* channels.list */ SELECT * FROM notice_channel WHERE account_id = %(account_id)s "
            "AND (%(after)s::bigint IS NULL OR id > %(after)s) ORDER BY id LIMIT %(limit)s",
            {"account_id": account_id, "after": after, "limit": limit},
        ).fetchall()


def require(connection: Connection, account_id: str, channel_id: int) -> Channel:
    """Return an account's channel.

    Raises:
        Problem: 404 if the account has no such channel.
    """
    for channel in list_channels(connection, account_id):
        if channel.id == channel_id:
            return channel
    raise not_found("notification", str(channel_id))


def set_kinds(
    connection: Connection, account_id: str, channel_id: int, kinds: Sequence[Kind], *, actor: str
) -> Channel:
    """Set the kinds of notifications that a channel receives.

    Raises:
        Problem: 404 if the account has no such channel.
    """
    with connection.transaction():
        before = require(connection, account_id, channel_id)
        wanted: list[str] = sorted(set(kinds))
        if before.kinds == wanted:
            return before
        connection.execute(
            "/* channels.set_kinds */ UPDATE notice_channel SET kinds = %s WHERE id = %s", (wanted, channel_id)
        )
        audit.append(
            connection,
            account_id=account_id,
            actor=actor,
            action="notification.change",
            subject=str(channel_id),
            before={"events": before.kinds},
            after={"events": wanted},
        )
        return require(connection, account_id, channel_id)


def rotate_secret(connection: Connection, account_id: str, channel_id: int, *, actor: str) -> Channel:
    """Replace a webhook's secret; the old one also signs for `OLD_SECRET_LASTS`.

    Raises:
        Problem: 404 if the account has no such channel; 409 if it has no secret.
    """
    with connection.transaction():
        if require(connection, account_id, channel_id).secret is None:
            raise Problem(409, "notification_unsigned", gettext("Only webhooks are signed with a secret."))
        connection.execute(
            "/* channels.rotate */ UPDATE notice_channel SET old_secret = secret, secret = %s, rotated_at = now() "
            "WHERE id = %s",
            (_make_secret(), channel_id),
        )
        audit.append(
            connection, account_id=account_id, actor=actor, action="notification.rotate", subject=str(channel_id)
        )
        return require(connection, account_id, channel_id)


def delete(connection: Connection, account_id: str, channel_id: int, *, actor: str) -> None:
    """Delete a channel and its pending deliveries.

    Raises:
        Problem: 404 if the account has no such channel.
    """
    with connection.transaction():
        channel = require(connection, account_id, channel_id)
        connection.execute("/* channels.delete */ DELETE FROM notice_channel WHERE id = %s", (channel_id,))
        before = {"type": channel.form, "target": shown(channel.target)}
        audit.append(
            connection,
            account_id=account_id,
            actor=actor,
            action="notification.delete",
            subject=str(channel_id),
            before=before,
        )


def _make_secret() -> str:
    return f"whsec_{base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()}"


def _errors(connection: Connection, account_id: str, form: str, target: str, kinds: Sequence[str]) -> list[FieldError]:
    errors = []
    if form not in get_args(Form):
        return [
            FieldError("type", "wrong_choice", gettext("must be one of %(choices)s", choices=", ".join(get_args(Form))))
        ]
    if not kinds or not set(kinds) <= set(KINDS):
        errors.append(
            FieldError(
                "events", "wrong_choice", gettext("must be at least one of %(choices)s", choices=", ".join(KINDS))
            )
        )
    if len(list_channels(connection, account_id)) >= CHANNELS_MAX:
        errors.append(
            FieldError(
                "type", "wrong_list", gettext("an account can have at most %(most)s notifications", most=CHANNELS_MAX)
            )
        )
    if form == "email":
        if target not in {member.email for member in members.list_members(connection, account_id)}:
            errors.append(
                FieldError("target", "bad_email", gettext("must be the e-mail address of a member of this account"))
            )
    elif not _is_web_address(target, host=_HOSTS.get(form)):
        start = f"https://{_HOSTS[form]}/" if form in _HOSTS else "https://"
        errors.append(
            FieldError(
                "target", "wrong_text", gettext("must be an address that starts with %(beginning)s", beginning=start)
            )
        )
    return errors


def _is_web_address(target: str, *, host: str | None) -> bool:
    if len(target) > _TARGET_LENGTH_MAX or not target.isascii() or not target.isprintable() or " " in target:
        return False
    try:
        parts = urlsplit(target)
        _ = parts.port
    except ValueError:
        return False
    is_web = parts.scheme == "https" and bool(parts.hostname) and not parts.username and not parts.password
    return is_web and (host is None or parts.hostname == host)


def shown(target: str) -> str:
    """Return a target for the audit log and lists: only the host of a URL, as its path may contain a secret."""
    return urlsplit(target).hostname or target if target.startswith("https:") else target
