"""Invitations: a one-time link lets a person choose a password and join, or choose another one."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from psycopg import sql
from psycopg.rows import class_row

from keygauge_keyservice import keyset
from keygauge_keyservice.accounts import members, passwords
from keygauge_keyservice.accounts.members import AnyRole, Member
from keygauge_keyservice.database import Connection
from keygauge_keyservice.errors import FieldError, Problem, invalid
from keygauge_keyservice.journal import audit
from keygauge_keyservice.texts import gettext

Sort = Literal["id", "email", "ends", "-id", "-email", "-ends"]
SORTS = {"id": "id", "email": "email", "ends": "ends_at"}
_OWN = "account_id IS NOT DISTINCT FROM %(account_id)s"
_LIST = """/* invitations.list */ SELECT id, account_id, email, role, created_by, ends_at FROM invitation
WHERE {own} AND ends_at > clock_timestamp() AND (%(email)s::text IS NULL OR email = %(email)s)
AND {after} ORDER BY {order} LIMIT %(limit)s"""
LIFETIME_S = 7 * 86_400
_TOKEN_BYTES = 32


@dataclass(frozen=True)
class Invitation:
    """An invitation that may still be accepted."""

    id: int
    account_id: str | None
    email: str
    role: AnyRole
    created_by: str
    ends_at: datetime


def create(
    connection: Connection, *, account_id: str | None, email: str, role: AnyRole, actor: str, by_operator: bool = False
) -> tuple[Invitation, str]:
    """Invite a person, or a member who lost the password; the link's secret is in the answer and nowhere else.

    An earlier invitation of the same address ends. For an owner only an operator makes one: whoever has the link
    chooses the password, and no owner takes another one's place.

    Raises:
        Problem: 409, the address is a member of this account with another role, or an owner; 422, it is none.
    """
    email = members.normalise_email(email)
    if not members.is_email(email):
        raise invalid(FieldError("email", "bad_email", gettext("must be an e-mail address")))
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    with connection.transaction():
        member = members.find_membership(connection, account_id, email)
        if member is not None and member.role != role:
            raise Problem(
                409,
                "member_exists",
                gettext(
                    "%(email)s is already a member. Change their role instead, or use another address.", email=email
                ),
            )
        if member is not None and member.role == "owner" and not by_operator:
            raise Problem(
                409,
                "member_exists",
                gettext("%(email)s is already an owner. Only the operator can reset an owner's password.", email=email),
            )
        connection.execute("/* invitations.prune */ DELETE FROM invitation WHERE ends_at <= statement_timestamp()")
        connection.execute(
            "/* invitations.replace */ DELETE FROM invitation WHERE email = %s AND account_id IS NOT DISTINCT FROM %s",
            (email, account_id),
        )
        with connection.cursor(row_factory=class_row(Invitation)) as cursor:
            [made] = cursor.execute(
                "/* invitations.create */ INSERT INTO invitation (hash, account_id, email, role, created_by, ends_at) "
                "VALUES (%s, %s, %s, %s, %s, clock_timestamp() + make_interval(secs => %s)) "
                "RETURNING id, account_id, email, role, created_by, ends_at",
                (_hash(token), account_id, email, role, actor, LIFETIME_S),
            ).fetchall()
        audit.append(
            connection,
            account_id=account_id,
            actor=actor,
            action="member.invite",
            subject=email,
            after={"role": role},
        )
    return made, token


def find(connection: Connection, token: str) -> Invitation | None:
    """Return the invitation of a link, or None where it was used or has ended."""
    with connection.cursor(row_factory=class_row(Invitation)) as cursor:
        return cursor.execute(
            "/* invitations.find */ SELECT id, account_id, email, role, created_by, ends_at FROM invitation "
            "WHERE hash = %s AND ends_at > clock_timestamp()",
            (_hash(token),),
        ).fetchone()


def list_open(
    connection: Connection,
    account_id: str | None,
    *,
    email: str | None = None,
    sort: Sort = "email",
    after: int | None = None,
    limit: int | None = None,
) -> list[Invitation]:
    """Return an account's invitations that may still be accepted, sorted: those after one, at most so many."""
    beyond, order = keyset.clauses("invitation", SORTS, sort, own=_OWN, cursor="bigint")
    values = {"account_id": account_id, "email": email, "after": after, "limit": limit}
    with connection.cursor(row_factory=class_row(Invitation)) as cursor:
        query = sql.SQL(_LIST).format(own=sql.SQL(_OWN), after=beyond, order=order)
        return cursor.execute(query, values, prepare=False).fetchall()


def withdraw(connection: Connection, account_id: str | None, invitation_id: int, *, actor: str) -> None:
    """End an invitation; nothing happens where it was accepted."""
    with connection.transaction():
        row = connection.execute(
            "/* invitations.withdraw */ DELETE FROM invitation WHERE id = %s AND account_id IS NOT DISTINCT FROM %s "
            "RETURNING email",
            (invitation_id, account_id),
        ).fetchone()
        if row is not None:
            audit.append(connection, account_id=account_id, actor=actor, action="member.uninvite", subject=row["email"])


def accept(connection: Connection, token: str, password: str) -> Member:
    """Make the invited person a member with a password, or give the member another one; the link is spent.

    Raises:
        Problem: 404, the link was used or has ended; 422, the password.
    """
    if errors := passwords.errors(password):
        raise invalid(*errors)
    password_hash = passwords.hash_password(password)  # before the transaction: it takes a while
    with connection.transaction():
        invited = _spend(connection, token)
        return members.join(connection, invited.account_id, invited.email, invited.role, password_hash)


def accept_verified(connection: Connection, token: str, email: str) -> Member:
    """Make the person whom the identity provider vouches for a member; a password that others chose ends.

    Raises:
        Problem: 403, another address is invited; 404, the link was used or has ended.
    """
    password_hash = passwords.hash_password(secrets.token_urlsafe(_TOKEN_BYTES))  # nobody knows it
    with connection.transaction():
        invited = _spend(connection, token)
        if invited.email != email:
            raise Problem(403, "wrong_address", gettext("This invitation is for another address."))
        member = members.join(connection, invited.account_id, invited.email, invited.role, password_hash)
        members.verify(connection, member)
        return member


def _spend(connection: Connection, token: str) -> Invitation:
    with connection.cursor(row_factory=class_row(Invitation)) as cursor:
        invited = cursor.execute(
            "/* invitations.accept */ DELETE FROM invitation WHERE hash = %s AND ends_at > clock_timestamp() "
            "RETURNING id, account_id, email, role, created_by, ends_at",
            (_hash(token),),
        ).fetchone()
    if invited is None:
        raise Problem(
            404, "invitation_not_found", gettext("This invitation has expired or was already used. Ask for a new one.")
        )
    return invited


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
