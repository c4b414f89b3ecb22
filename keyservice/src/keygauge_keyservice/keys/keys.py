"""Keys: creating, listing, changing, disabling and deleting them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from psycopg import sql
from psycopg.rows import class_row

from keygauge import key as key_format
from keygauge_keyservice.accounts import accounts
from keygauge_keyservice.database import Connection
from keygauge_keyservice.errors import Problem, not_found
from keygauge_keyservice.journal import audit, change_feed
from keygauge_keyservice.keys import key_bound
from keygauge_keyservice.secret import Peppers
from keygauge_keyservice.texts import gettext

Status = Literal["active", "disabled", "deleted"]

# Terms that restrict a key: if an operator sets one, only an operator can change it.
_RESTRICTIONS = ("expires_at", "scopes", "routes", "networks", "models", "tools")
_ACTIONS = {"active": "key.enable", "disabled": "key.disable"}


@dataclass(frozen=True, kw_only=True)
class Terms:
    """The terms of a key; empty lists restrict nothing."""

    name: str
    app: str | None = None
    expires_at: datetime | None = None
    scopes: Sequence[str] = ()
    routes: Sequence[str] = ()
    networks: Sequence[str] = ()
    models: Sequence[str] = ()
    tools: Sequence[str] = ()
    rotate_every_days: int | None = None


@dataclass(frozen=True, kw_only=True)
class Key(Terms):
    """A key without its secret."""

    id: str
    account_id: str
    environment: key_format.Environment
    status: Status
    created_at: datetime
    created_by: str | None
    rotated_at: datetime  # when the newest secret was created
    deleted_at: datetime | None
    last_used_at: datetime | None
    last_used_ip: str | None
    last_used_route: str | None
    locked_status: bool = False  # disabled by an operator
    locked_terms: Sequence[str] = ()  # names of terms set by an operator

    @property
    def rotation_due_at(self) -> datetime | None:
        """When the newest secret should be replaced; None without a rotation reminder."""
        return self.rotated_at + timedelta(days=self.rotate_every_days) if self.rotate_every_days else None


COLUMNS = sql.SQL(
    "id, account_id, name, app, environment, status, created_at, created_by, expires_at, deleted_at, scopes, routes, "
    "networks, models, tools, rotate_every_days, last_used_at, last_used_ip, last_used_route, locked_status, "
    "locked_terms, "
    "coalesce((SELECT max(key_secret.created_at) FROM key_secret WHERE key_id = key.id), created_at) AS rotated_at"
)
_FIND = sql.SQL("/* keys.find */ SELECT {columns} FROM key WHERE id = %s").format(columns=COLUMNS)
_LIST = sql.SQL(
    "/* keys.list */ SELECT {columns} FROM key "
    "WHERE account_id = %(account_id)s AND status <> 'deleted' AND (%(after)s::text IS NULL "
    "OR (created_at, id) > (SELECT created_at, id FROM key WHERE id = %(after)s AND account_id = %(account_id)s)) "
    "ORDER BY created_at, id LIMIT %(limit)s"
).format(columns=COLUMNS)
_NAMED = sql.SQL(
    "/* keys.named */ SELECT {columns} FROM key WHERE account_id = %(account_id)s AND status <> 'deleted' "
    "AND name = %(name)s AND starts_with(id, %(beginning)s) ORDER BY created_at, id LIMIT 1"
).format(columns=COLUMNS)
_MANY = sql.SQL("/* keys.find_many */ SELECT {columns} FROM key WHERE id = ANY(%s) AND account_id = %s").format(
    columns=COLUMNS
)
# Unused keys come oldest first. The caller decides by `rotation_due_at` which keys are due for rotation.
_AGEING = sql.SQL(
    "/* keys.ageing */ SELECT {columns} FROM key WHERE account_id = %(account_id)s AND status <> 'deleted' "
    "AND (%(expired)s::timestamptz IS NULL OR expires_at IS NULL OR expires_at > %(expired)s) "
    "AND (expires_at <= %(expiring)s OR status = 'active' "
    "AND (rotate_every_days IS NOT NULL OR coalesce(last_used_at, created_at) < %(unused)s)) "
    "ORDER BY expires_at NULLS LAST, rotate_every_days IS NULL, created_at, id LIMIT %(limit)s"
).format(columns=COLUMNS)
_CHANGE = """/* keys.change */
UPDATE key SET name = %(name)s, app = %(app)s, expires_at = %(expires_at)s, scopes = %(scopes)s, routes = %(routes)s,
    networks = %(networks)s, models = %(models)s, tools = %(tools)s,
    rotate_every_days = %(rotate_every_days)s, locked_terms = %(locked_terms)s
WHERE id = %(id)s"""


def create(
    connection: Connection,
    *,
    peppers: Peppers,
    account_id: str,
    environment: key_format.Environment = "live",
    actor: str,
    by_operator: bool = False,
    most: int = key_bound.PER_ACCOUNT_MAX,
    **terms: Any,
) -> tuple[Key, str]:
    """Create a key with `Terms` and return it with its token, which cannot be retrieved later.

    `by_operator`: only operators can lift the restrictions.

    Raises:
        Problem: 404 if there is no such account; 409 if it is suspended or has `most` keys.
    """
    key_id = key_format.new_id()
    token = key_format.generate(environment, key_id)
    given = Terms(**terms)
    locked = [name for name in _RESTRICTIONS if by_operator and getattr(given, name)]
    with connection.transaction():
        accounts.require_active(connection, account_id)
        key_bound.require_room(connection, account_id, most)
        _insert(connection, key_id, given, account_id=account_id, environment=environment, locked=locked, actor=actor)
        _insert_secret(connection, key_id, peppers, key_format.digest(token))
        after = {"environment": environment} | {name: value for name, value in _terms(given).items() if value}
        audit.append(connection, account_id=account_id, actor=actor, action="key.create", subject=key_id, after=after)
        return changed(connection, key_id), token


def take_over(
    connection: Connection,
    digest: bytes,
    *,
    peppers: Peppers,
    account_id: str,
    environment: key_format.Environment = "live",
    actor: str,
    **terms: Any,
) -> Key | None:
    """Import a key issued by another system, by the SHA-256 of its token; return None if it was imported before.

    Raises:
        Problem: 404 if there is no such account.
    """
    key_id = key_format.imported_id(digest)
    if find(connection, key_id) is not None:
        return None
    given = Terms(**terms)
    with connection.transaction():
        _insert(connection, key_id, given, account_id=account_id, environment=environment, locked=[], actor=actor)
        _insert_secret(connection, key_id, peppers, digest)
        after = {"environment": environment} | {name: value for name, value in _terms(given).items() if value}
        audit.append(connection, account_id=account_id, actor=actor, action="key.import", subject=key_id, after=after)
        return changed(connection, key_id)


def find(connection: Connection, key_id: str) -> Key | None:
    """Return a key, even if deleted, or None."""
    with connection.cursor(row_factory=class_row(Key)) as cursor:
        return cursor.execute(_FIND, (key_id,)).fetchone()


def require(connection: Connection, key_id: str) -> Key:
    """Return a key, even if deleted.

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
    """Return an account's keys without deleted ones, oldest first; `after` is the last id of the previous page."""
    with connection.cursor(row_factory=class_row(Key)) as cursor:
        return cursor.execute(_LIST, {"account_id": account_id, "after": after, "limit": limit}).fetchall()


def find_named(connection: Connection, account_id: str, name: str, *, beginning: str = "") -> Key | None:
    """Return an account's oldest key with a name, and with an id that starts with `beginning`; never a deleted one."""
    values = {"account_id": account_id, "name": name, "beginning": beginning}
    with connection.cursor(row_factory=class_row(Key)) as cursor:
        return cursor.execute(_NAMED, values).fetchone()


def find_many(connection: Connection, account_id: str, key_ids: Collection[str]) -> list[Key]:
    """Return some of an account's keys by id, including deleted ones."""
    with connection.cursor(row_factory=class_row(Key)) as cursor:
        return cursor.execute(_MANY, (list(key_ids), account_id)).fetchall()


def find_ageing(
    connection: Connection,
    account_id: str,
    *,
    expired: datetime | None = None,
    expiring: datetime,
    unused: datetime,
    limit: int,
) -> list[Key]:
    """Return keys that expire by `expiring`, have a rotation reminder, or have not been used since `unused`.

    Keys that had expired by the time `expired` are left out.
    """
    values = {
        "account_id": account_id,
        "expired": expired,
        "expiring": expiring,
        "unused": unused,
        "limit": limit,
    }
    with connection.cursor(row_factory=class_row(Key)) as cursor:
        return cursor.execute(_AGEING, values).fetchall()


def names(connection: Connection, account_id: str, key_ids: Collection[str]) -> dict[str, str]:
    """Return the names of some of an account's keys by id, without deleted ones."""
    rows = connection.execute(
        "/* keys.names */ SELECT id, name FROM key WHERE id = ANY(%s) AND account_id = %s AND status <> 'deleted'",
        (list(key_ids), account_id),
    )
    return {row["id"]: row["name"] for row in rows}


def set_status(
    connection: Connection,
    key_id: str,
    status: Literal["active", "disabled"],
    *,
    actor: str,
    by_operator: bool = False,
) -> Key:
    """Disable or enable a key; replicas follow within about a second.

    Raises:
        Problem: 404; 403 if anyone but an operator changes the status of a key disabled by an operator; 409 if the key
            is deleted.
    """
    with connection.transaction():
        before = lock(connection, key_id)
        if before.locked_status and not by_operator:
            raise locked_by_operator()
        is_locked = by_operator and status == "disabled"
        if (before.status, before.locked_status) == (status, is_locked):
            return before
        connection.execute(
            "/* keys.set_status */ UPDATE key SET status = %s, locked_status = %s WHERE id = %s",
            (status, is_locked, key_id),
        )
        audit.append(connection, account_id=before.account_id, actor=actor, action=_ACTIONS[status], subject=key_id)
        return changed(connection, key_id)


def change(connection: Connection, key_id: str, *, actor: str, by_operator: bool = False, **terms: Any) -> Key:
    """Change some `Terms` of a key; replicas follow within about a second.

    Raises:
        Problem: 404; 403 if anyone but an operator changes a term set by an operator; 409 if the key is deleted.
    """
    with connection.transaction():
        before = lock(connection, key_id)
        after = replace(before, **terms)
        existing, requested = _terms(before), _terms(after)
        different = [name for name in requested if existing[name] != requested[name]]
        locked = _locked(before, after, different, by_operator=by_operator)
        if not different and set(locked) == set(before.locked_terms):
            return before
        connection.execute(_CHANGE, {**_values(after), "id": key_id, "locked_terms": locked})
        audit.append(
            connection,
            account_id=before.account_id,
            actor=actor,
            action="key.rename" if different == ["name"] else "key.change",
            subject=key_id,
            before={name: existing[name] for name in different},
            after={name: requested[name] for name in different},
        )
        return changed(connection, key_id)


def delete(connection: Connection, key_id: str, *, actor: str) -> Key:
    """Delete a key permanently; its name is kept for the history. Deleting it again has no effect.

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
        return changed(connection, key_id)


def lock(connection: Connection, key_id: str) -> Key:
    """Lock a key until the transaction ends, and return it.

    Raises:
        Problem: 404; 409 if the key is deleted.
    """
    connection.execute("/* keys.lock */ SELECT FROM key WHERE id = %s FOR UPDATE", (key_id,))
    key = require(connection, key_id)
    if key.status == "deleted":
        raise Problem(409, "key_deleted", gettext("The key %(key)s is deleted. Create another one.", key=repr(key_id)))
    return key


def changed(connection: Connection, key_id: str) -> Key:
    """Record a change of a key for the replicas and return the key; call this last in the transaction."""
    key = require(connection, key_id)
    change_feed.record_keys(connection, [key_id])
    return key


def locked_by_operator(limit: str | None = None) -> Problem:
    """Return the error for changing a term or limit that an operator set."""
    detail = (
        gettext("The limit %(limit)s was restricted by the operator. Ask them to change it.", limit=limit)
        if limit
        else gettext("This key was restricted by the operator. Ask them to change it.")
    )
    return Problem(403, "locked_by_operator", detail)


def _insert(
    connection: Connection,
    key_id: str,
    given: Terms,
    *,
    account_id: str,
    environment: key_format.Environment,
    locked: Sequence[str],
    actor: str,
) -> None:
    accounts.require(connection, account_id)
    connection.execute(
        "/* keys.create */ INSERT INTO key (id, account_id, name, environment, created_by) VALUES (%s, %s, %s, %s, %s)",
        (key_id, account_id, given.name, environment, actor),
    )
    connection.execute(_CHANGE, {**_values(given), "id": key_id, "locked_terms": locked})


def _insert_secret(connection: Connection, key_id: str, peppers: Peppers, digest: bytes) -> None:
    connection.execute(
        "/* keys.create_secret */ INSERT INTO key_secret (key_id, number, hash, pepper_version) VALUES (%s, 1, %s, %s)",
        (key_id, peppers.hash(digest, peppers.newest), peppers.newest),
    )


def _locked(before: Key, after: Terms, different: Sequence[str], *, by_operator: bool) -> list[str]:
    """Return the terms locked by an operator after a change; when an operator empties a term, it is unlocked."""
    theirs = set(before.locked_terms)
    if not by_operator:
        if theirs & set(different):
            raise locked_by_operator()
        return list(before.locked_terms)
    return [name for name in _RESTRICTIONS if getattr(after, name) and (name in theirs or name in different)]


def _values(terms: Terms) -> dict[str, Any]:
    values = {term.name: getattr(terms, term.name) for term in fields(Terms)}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _terms(terms: Terms) -> dict[str, Any]:
    """Return terms as JSON values for the audit log."""
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in _values(terms).items()}
