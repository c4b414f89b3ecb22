"""Bearer tokens of services, operators and Prometheus: made, listed, revoked, and recognised by their hash."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock
from time import monotonic
from typing import Literal

from psycopg.rows import class_row

from keygauge import key as key_format
from keygauge_keyservice.database import Connection
from keygauge_keyservice.errors import FieldError, invalid, not_found
from keygauge_keyservice.journal import audit

Kind = Literal["service", "admin", "metrics"]
Scope = Literal["read", "keys", "billing", "all"]

_PREFIXES: dict[Kind, str] = {"service": "kgs_", "admin": "kga_", "metrics": "kgm_"}
_BYTES = 32
_FRESH_S = 2.0  # how long a revoked token may go on
_COLUMNS = "id, kind, name, scope, created_at, created_by, expires_at, revoked_at, last_used_at"


@dataclass(frozen=True)
class Token:
    """A token without its secret."""

    id: str
    kind: Kind
    name: str
    scope: Scope
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


def create(
    connection: Connection,
    *,
    kind: Kind,
    name: str,
    scope: Scope = "all",
    expires_at: datetime | None = None,
    actor: str,
) -> tuple[Token, str]:
    """Make a token; its secret is in the answer and nowhere else. More than one of a name is valid at once.

    Raises:
        Problem: 422, only an operator's token has a scope.
    """
    if kind != "admin" and scope != "all":
        raise invalid(FieldError("scope", "wrong_choice", "only admin tokens have a scope"))
    secret = _PREFIXES[kind] + secrets.token_urlsafe(_BYTES)
    with connection.transaction(), connection.cursor(row_factory=class_row(Token)) as cursor:
        [made] = cursor.execute(
            "/* tokens.create */ INSERT INTO token (id, kind, name, scope, hash, created_by, expires_at) "  # noqa: S608 - columns
            f"VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING {_COLUMNS}",
            (key_format.new_id(), kind, name, scope, _hash(secret), actor, expires_at),
        ).fetchall()
        audit.append(
            connection,
            account_id=None,
            actor=actor,
            action="token.create",
            subject=made.id,
            after={"kind": kind, "name": name, "scope": scope},
        )
    return made, secret


def list_tokens(connection: Connection, *, after: str | None = None, limit: int | None = None) -> list[Token]:
    """Return tokens by id, revoked ones too."""
    with connection.cursor(row_factory=class_row(Token)) as cursor:
        return cursor.execute(
            f"/* tokens.list */ SELECT {_COLUMNS} FROM token "  # noqa: S608 - columns
            "WHERE %(after)s::text IS NULL OR id > %(after)s ORDER BY id LIMIT %(limit)s",
            {"after": after, "limit": limit},
        ).fetchall()


def revoke(connection: Connection, token_id: str, *, actor: str) -> None:
    """End a token; every process follows within two seconds.

    Raises:
        Problem: 404, there is no such token.
    """
    with connection.transaction():
        row = connection.execute(
            "/* tokens.revoke */ UPDATE token SET revoked_at = coalesce(revoked_at, clock_timestamp()) "
            "WHERE id = %s RETURNING kind, name",
            (token_id,),
        ).fetchone()
        if row is None:
            raise not_found("token", token_id)
        audit.append(connection, account_id=None, actor=actor, action="token.revoke", subject=token_id, before=row)


class TokenBook:
    """The valid tokens as one process knows them; strangers' tokens cost it no query."""

    def __init__(self, connect: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._connect = connect
        self._lock = Lock()
        self._tokens: dict[bytes, Token] = {}
        self._used: set[str] = set()
        self._read_at: float | None = None

    def find(self, secret: str) -> Token | None:
        """Return the valid token of a secret, or None."""
        if not secret.startswith(tuple(_PREFIXES.values())):
            return None
        with self._lock:
            if self._read_at is None or monotonic() - self._read_at > _FRESH_S:
                self._refresh()
            token = self._tokens.get(_hash(secret))
            if token is None or (token.expires_at is not None and token.expires_at <= datetime.now(UTC)):
                return None
            self._used.add(token.id)
            return token

    def _refresh(self) -> None:
        with self._connect() as connection:
            if self._used:
                connection.execute(
                    "/* tokens.use */ UPDATE token SET last_used_at = clock_timestamp() WHERE id = ANY(%s) "
                    "AND (last_used_at IS NULL OR last_used_at < clock_timestamp() - interval '1 minute')",
                    (list(self._used),),
                )
            rows = connection.execute(
                f"/* tokens.read */ SELECT hash, {_COLUMNS} FROM token WHERE revoked_at IS NULL"  # noqa: S608 - columns
            ).fetchall()
        self._tokens = {row.pop("hash"): Token(**row) for row in rows}
        self._used.clear()
        self._read_at = monotonic()


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
