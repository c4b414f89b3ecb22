"""Keys: issue, list, rename, disable, expire and delete them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from psycopg.rows import class_row

from keygauge import key as key_format
from keygauge_keyservice import accounts, audit, feed
from keygauge_keyservice.database import Connection
from keygauge_keyservice.problem import Problem, not_found
from keygauge_keyservice.secret import Peppers

Status = Literal["active", "disabled", "deleted"]

_ACTIONS = {"active": "key.enable", "disabled": "key.disable"}


@dataclass(frozen=True)
class Key:
    """A key without its secret."""

    id: str
    account_id: str
    name: str
    environment: key_format.Environment
    status: Status
    created_at: datetime
    created_by: str | None
    expires_at: datetime | None
    deleted_at: datetime | None
    last_used_at: datetime | None
    last_used_ip: str | None
    last_used_route: str | None


def create(
    connection: Connection,
    *,
    peppers: Peppers,
    account_id: str,
    name: str,
    environment: key_format.Environment = "live",
    expires_at: datetime | None = None,
    actor: str,
) -> tuple[Key, str]:
    """Issue a key; the token is in the answer and nowhere else.

    Raises:
        Problem: 404, there is no such account.
    """
    with connection.transaction():
        accounts.require(connection, account_id)
        key_id = key_format.new_id()
        token = key_format.generate(environment, key_id)
        connection.execute(
            "/* keys.create */ INSERT INTO key (id, account_id, name, environment, expires_at, created_by) "
            "VALUES (%s, %s, %s, %s, %s, %s)",
            (key_id, account_id, name, environment, expires_at, actor),
        )
        connection.execute(
            "/* keys.create_secret */ INSERT INTO key_secret (key_id, number, hash, pepper_version) "
            "VALUES (%s, 1, %s, %s)",
            (key_id, peppers.hash(key_format.digest(token), peppers.newest), peppers.newest),
        )
        after = {"name": name, "environment": environment, "expires_at": expires_at and expires_at.isoformat()}
        audit.append(connection, account_id=account_id, actor=actor, action="key.create", subject=key_id, after=after)
        key = require(connection, key_id)
        feed.record_keys(connection, [key_id])
        return key, token


def find(connection: Connection, key_id: str) -> Key | None:
    """Return a key, deleted ones too, or None."""
    with connection.cursor(row_factory=class_row(Key)) as cursor:
        return cursor.execute(
            "/* keys.find */ SELECT id, account_id, name, environment, status, created_at, created_by, expires_at, "
            "deleted_at, last_used_at, last_used_ip, last_used_route FROM key WHERE id = %s",
            (key_id,),
        ).fetchone()


def require(connection: Connection, key_id: str) -> Key:
    """Return a key, deleted ones too.

    Raises:
        Problem: 404.
    """
    key = find(connection, key_id)
    if key is None:
        raise not_found("key", key_id)
    return key


def list_keys(
    connection: Connection, account_id: str, *, after: str | None = None, limit: int | None = None
) -> list[Key]:
    """Return an account's keys but deleted ones, oldest first: those made after a key, at most so many."""
    with connection.cursor(row_factory=class_row(Key)) as cursor:
        return cursor.execute(
            "/* keys.list */ SELECT id, account_id, name, environment, status, created_at, created_by, expires_at, "
            "deleted_at, last_used_at, last_used_ip, last_used_route FROM key "
            "WHERE account_id = %(account_id)s AND status <> 'deleted' AND (%(after)s::text IS NULL "
            "OR (created_at, id) > (SELECT created_at, id FROM key WHERE id = %(after)s)) "
            "ORDER BY created_at, id LIMIT %(limit)s",
            {"account_id": account_id, "after": after, "limit": limit},
        ).fetchall()


def set_status(connection: Connection, key_id: str, status: Literal["active", "disabled"], *, actor: str) -> Key:
    """Disable a key or enable it again; replicas follow within about a second.

    Raises:
        Problem: 404, or 409 when the key is deleted.
    """
    with connection.transaction():
        before = _lock(connection, key_id)
        if before.status == status:
            return before
        connection.execute("/* keys.set_status */ UPDATE key SET status = %s WHERE id = %s", (status, key_id))
        audit.append(connection, account_id=before.account_id, actor=actor, action=_ACTIONS[status], subject=key_id)
        return _changed(connection, key_id)


def rename(connection: Connection, key_id: str, name: str, *, actor: str) -> Key:
    """Give a key another name.

    Raises:
        Problem: 404, or 409 when the key is deleted.
    """
    with connection.transaction():
        before = _lock(connection, key_id)
        if before.name == name:
            return before
        connection.execute("/* keys.rename */ UPDATE key SET name = %s WHERE id = %s", (name, key_id))
        audit.append(
            connection,
            account_id=before.account_id,
            actor=actor,
            action="key.rename",
            subject=key_id,
            before={"name": before.name},
            after={"name": name},
        )
        return _changed(connection, key_id)


def set_expiry(connection: Connection, key_id: str, expires_at: datetime | None, *, actor: str) -> Key:
    """Let a key expire at another time, or never.

    Raises:
        Problem: 404, or 409 when the key is deleted.
    """
    with connection.transaction():
        before = _lock(connection, key_id)
        if before.expires_at == expires_at:
            return before
        connection.execute("/* keys.set_expiry */ UPDATE key SET expires_at = %s WHERE id = %s", (expires_at, key_id))
        audit.append(
            connection,
            account_id=before.account_id,
            actor=actor,
            action="key.set_expiry",
            subject=key_id,
            before={"expires_at": before.expires_at and before.expires_at.isoformat()},
            after={"expires_at": expires_at and expires_at.isoformat()},
        )
        return _changed(connection, key_id)


def delete(connection: Connection, key_id: str, *, actor: str) -> Key:
    """Delete a key for good; its name stays for the history. Deleting it again changes nothing.

    Raises:
        Problem: 404.
    """
    with connection.transaction():
        connection.execute("/* keys.lock */ SELECT FROM key WHERE id = %s FOR UPDATE", (key_id,))
        before = require(connection, key_id)
        if before.status == "deleted":
            return before
        connection.execute(
            "/* keys.delete */ UPDATE key SET status = 'deleted', deleted_at = clock_timestamp() WHERE id = %s",
            (key_id,),
        )
        audit.append(connection, account_id=before.account_id, actor=actor, action="key.delete", subject=key_id)
        return _changed(connection, key_id)


def _lock(connection: Connection, key_id: str) -> Key:
    connection.execute("/* keys.lock */ SELECT FROM key WHERE id = %s FOR UPDATE", (key_id,))
    key = require(connection, key_id)
    if key.status == "deleted":
        raise Problem(409, "key_deleted", f"The key {key_id!r} is deleted: create another one.")
    return key


def _changed(connection: Connection, key_id: str) -> Key:
    key = require(connection, key_id)
    feed.record_keys(connection, [key_id])
    return key
