"""Key rotation: issue a new secret; the old ones expire immediately or after a grace period."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from psycopg.rows import class_row

from keygauge import key as key_format
from keygauge_keyservice.database import Connection
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.journal import audit
from keygauge_keyservice.keys import keys
from keygauge_keyservice.keys.keys import Key
from keygauge_keyservice.secret import Peppers
from keygauge_keyservice.texts import gettext

GRACE_S_MAX = 30 * 86_400
SECRETS_MAX = 10  # valid ones of a key, which every replica keeps


@dataclass(frozen=True)
class Secret:
    """Metadata of one of a key's valid secrets."""

    number: int
    created_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True)
class Rotation:
    """A rotated key; `token` is None if the same rotation was done before, because it cannot be shown again."""

    key: Key
    token: str | None = field(repr=False)


def rotate(
    connection: Connection, key_id: str, *, peppers: Peppers, rotation_id: str, grace_s: int = 0, actor: str
) -> Rotation:
    """Create a new secret for a key; its id, limits and usage are kept. Repeating a `rotation_id` has no effect.

    Existing secrets expire `grace_s` seconds from now, or earlier if they already had an earlier expiry.

    Raises:
        Problem: 404; 409 if the key is deleted, or `SECRETS_MAX` of its secrets would stay valid.
    """
    with connection.transaction():
        key = keys.lock(connection, key_id)
        row = connection.execute(
            "/* rotation.find */ SELECT max(number) AS newest, coalesce(bool_or(rotation_id = %s), false) AS is_done "
            "FROM key_secret WHERE key_id = %s",
            (rotation_id, key_id),
        ).fetchone() or {"newest": 0, "is_done": False}
        if row["is_done"]:
            return Rotation(key, None)
        if grace_s and len(list_secrets(connection, key_id)) >= SECRETS_MAX:
            raise _too_many()
        token = key_format.generate(key.environment, key_id)
        connection.execute(
            "/* rotation.end_old */ UPDATE key_secret "
            "SET expires_at = least(expires_at, clock_timestamp() + make_interval(secs => %s)) WHERE key_id = %s",
            (grace_s, key_id),
        )
        connection.execute(
            "/* rotation.add */ INSERT INTO key_secret (key_id, number, hash, pepper_version, rotation_id, created_at) "
            "VALUES (%s, %s, %s, %s, %s, clock_timestamp())",
            (
                *(key_id, row["newest"] + 1, peppers.hash(key_format.digest(token), peppers.newest)),
                *(peppers.newest, rotation_id),
            ),
        )
        after = {"secret": row["newest"] + 1, "grace_s": grace_s}
        audit.append(
            connection, account_id=key.account_id, actor=actor, action="key.rotate", subject=key_id, after=after
        )
        return Rotation(keys.changed(connection, key_id), token)


def list_secrets(connection: Connection, key_id: str) -> list[Secret]:
    """Return a key's valid secrets, oldest first."""
    with connection.cursor(row_factory=class_row(Secret)) as cursor:
        return cursor.execute(
            "/* rotation.list */ SELECT number, created_at, expires_at FROM key_secret "
            "WHERE key_id = %s AND (expires_at IS NULL OR expires_at > clock_timestamp()) ORDER BY number",
            (key_id,),
        ).fetchall()


def _too_many() -> Problem:
    detail = gettext(
        "This key has %(most)s secrets that still work. Rotate it without a grace period, or wait until one expires.",
        most=SECRETS_MAX,
    )
    return Problem(409, "too_many_secrets", detail)
