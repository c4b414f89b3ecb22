"""Bearer tokens for services, operators, Prometheus and accounts."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from psycopg import sql
from psycopg.rows import class_row

from keygauge import key as key_format
from keygauge_keyservice import keyset
from keygauge_keyservice.accounts import accounts
from keygauge_keyservice.database import Connection
from keygauge_keyservice.errors import FieldError, invalid, not_found
from keygauge_keyservice.journal import audit
from keygauge_keyservice.texts import gettext

Kind = Literal["service", "admin", "metrics", "account"]
Scope = Literal["read", "keys", "billing", "all", "manage"]

PREFIXES: dict[Kind, str] = {"service": "kgs_", "admin": "kga_", "metrics": "kgm_", "account": "kgo_"}
SCOPES: dict[Kind, tuple[Scope, ...]] = {  # the first one is the default
    "service": ("all",),
    "admin": ("all", "read", "keys", "billing"),
    "metrics": ("all",),
    "account": ("read", "manage"),
}
PER_ACCOUNT_MAX = 50  # valid tokens
COLUMNS = "id, kind, account_id, name, scope, created_at, created_by, expires_at, revoked_at, last_used_at"
_BYTES = 32

Sort = Literal["id", "name", "created", "last_used", "-id", "-name", "-created", "-last_used"]
SORTS = {
    "id": "id",
    "name": "lower(name)",
    "created": "created_at",
    "last_used": "coalesce(last_used_at, '-infinity')",
}
_OWN = "(%(account_id)s::text IS NULL OR account_id = %(account_id)s)"
_LIST = """/* tokens.list */ SELECT {columns} FROM token
WHERE {own} AND (%(kind)s::text IS NULL OR kind = %(kind)s)
AND (%(name)s::text IS NULL OR lower(name) = lower(%(name)s))
AND (NOT %(only_valid)s OR (revoked_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp())))
AND {after} ORDER BY {order} LIMIT %(limit)s"""


@dataclass(frozen=True)
class Token:
    """A token without its secret."""

    id: str
    kind: Kind
    account_id: str | None
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
    account_id: str | None = None,
    scope: Scope | None = None,
    expires_at: datetime | None = None,
    actor: str,
) -> tuple[Token, str]:
    """Create a token and return it with its secret, which cannot be retrieved later. Names need not be unique.

    Raises:
        Problem: 404 if there is no such account; 409 if it is suspended; 422 if the kind has no such scope, its account
            is missing or not allowed, or the account has too many valid tokens.
    """
    scope = scope or SCOPES[kind][0]
    secret = PREFIXES[kind] + secrets.token_urlsafe(_BYTES)
    with connection.transaction(), connection.cursor(row_factory=class_row(Token)) as cursor:
        if errors := _errors(connection, kind, account_id, scope):
            raise invalid(*errors)
        [made] = cursor.execute(
            "/* tokens.create */ INSERT INTO token (id, kind, account_id, name, scope, hash, created_by, expires_at) "  # noqa: S608 - columns
            f"VALUES (%s, %s, %s, %s, %s, %s, %s, %s) RETURNING {COLUMNS}",
            (key_format.new_id(), kind, account_id, name, scope, digest(secret), actor, expires_at),
        ).fetchall()
        audit.append(
            connection,
            account_id=account_id,
            actor=actor,
            action="token.create",
            subject=made.id,
            after={"kind": kind, "name": name, "scope": scope},
        )
    return made, secret


def list_tokens(
    connection: Connection,
    *,
    account_id: str | None = None,
    kind: Kind | None = None,
    name: str | None = None,
    only_valid: bool = False,
    sort: Sort = "id",
    after: str | None = None,
    limit: int | None = None,
) -> list[Token]:
    """Return a sorted page of tokens, including revoked ones, filtered by account, kind or name.

    `after` is the last id of the previous page.
    """
    beyond, order = keyset.clauses("token", SORTS, sort, own=_OWN)
    query = sql.SQL(_LIST).format(columns=sql.SQL(COLUMNS), own=sql.SQL(_OWN), after=beyond, order=order)
    values = {
        "account_id": account_id,
        "kind": kind,
        "name": name,
        "only_valid": only_valid,
        "after": after,
        "limit": limit,
    }
    with connection.cursor(row_factory=class_row(Token)) as cursor:
        return cursor.execute(query, values, prepare=False).fetchall()


def revoke(connection: Connection, token_id: str, *, actor: str, account_id: str | None = None) -> None:
    """Revoke a token; all processes reject it within two seconds.

    Raises:
        Problem: 404 if there is no such token, or it does not belong to `account_id`.
    """
    with connection.transaction():
        row = connection.execute(
            "/* tokens.revoke */ UPDATE token SET revoked_at = coalesce(revoked_at, clock_timestamp()) "
            "WHERE id = %(id)s AND (%(account_id)s::text IS NULL OR account_id = %(account_id)s) "
            "RETURNING kind, account_id, name",
            {"id": token_id, "account_id": account_id},
        ).fetchone()
        if row is None:
            raise not_found("token", token_id)
        of_account = row.pop("account_id")
        audit.append(
            connection, account_id=of_account, actor=actor, action="token.revoke", subject=token_id, before=row
        )


def revoke_of(connection: Connection, account_id: str, created_by: str, *, actor: str) -> None:
    """Revoke the account tokens that a person created, since those act with that person's rights."""
    for token in list_tokens(connection, account_id=account_id, only_valid=True):
        if token.created_by == created_by:
            revoke(connection, token.id, actor=actor)


def digest(secret: str) -> bytes:
    """Return the hash under which a secret is stored."""
    return hashlib.sha256(secret.encode()).digest()


def _errors(connection: Connection, kind: Kind, account_id: str | None, scope: Scope) -> list[FieldError]:
    errors = []
    if scope not in SCOPES[kind]:
        fitting = ", ".join(SCOPES[kind])
        errors.append(FieldError("scope", "wrong_choice", f"of a token of kind {kind} must be one of {fitting}"))
    if kind != "account":
        if account_id is not None:
            errors.append(FieldError("account", "wrong_choice", "only tokens of kind account have one"))
    elif account_id is None:
        errors.append(FieldError("account", "missing", "is required for a token of kind account"))
    else:
        accounts.require_active(connection, account_id)
        if len(list_tokens(connection, account_id=account_id, only_valid=True)) >= PER_ACCOUNT_MAX:
            most = gettext("an account can have at most %(most)s valid tokens; revoke one first", most=PER_ACCOUNT_MAX)
            errors.append(FieldError("account", "wrong_list", most))
    return errors
