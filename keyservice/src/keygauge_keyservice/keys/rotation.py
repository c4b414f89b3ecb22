"""Rotation: a key's next secret, with the old ones refused at once or after a time of grace."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from psycopg.rows import class_row

from keygauge import key as key_format
from keygauge_keyservice.database import Connection
from keygauge_keyservice.journal import audit
from keygauge_keyservice.keys import keys
from keygauge_keyservice.keys.keys import Key
from keygauge_keyservice.secret import Peppers

GRACE_S_MAX = 30 * 86_400


@dataclass(frozen=True)
class Secret:
    """One of a key's secrets that may still be used, without the secret itself."""

    number: int
    created_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True)
class Rotation:
    """A rotated key; `token` is None where the same rotation was done before, since nobody can show it again."""

    key: Key
    token: str | None = field(repr=False)


def rotate(
    connection: Connection, key_id: str, *, peppers: Peppers, rotation_id: str, grace_s: int = 0, actor: str
) -> Rotation:
    """Give a key another secret; id, limits and usage stay. Repeating a rotation by its id changes nothing.

    The secrets so far end `grace_s` from now, those that end sooner stay with that.

    Raises:
        Problem: 404, or 409 when the key is deleted.
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
    """Return the secrets of a key that may still be used, oldest first."""
    with connection.cursor(row_factory=class_row(Secret)) as cursor:
        return cursor.execute(
            "/* rotation.list */ SELECT number, created_at, expires_at FROM key_secret "
            "WHERE key_id = %s AND (expires_at IS NULL OR expires_at > clock_timestamp()) ORDER BY number",
            (key_id,),
        ).fetchall()
