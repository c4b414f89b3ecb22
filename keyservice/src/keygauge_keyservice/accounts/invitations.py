"""Invitations: one-time links for joining an account, or for resetting a member's password."""

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
    """An open invitation."""

    id: int
    account_id: str | None
    email: str
    role: AnyRole
    created_by: str
    ends_at: datetime


def create(
    connection: Connection, *, account_id: str | None, email: str, role: AnyRole, actor: str, by_operator: bool = False
) -> tuple[Invitation, str]:
    """Create an invitation for a new member, or for a member who lost their password.

    Return it with the link's secret, which cannot be retrieved later. Earlier invitations for the same address and
    account are deleted. Only an operator can invite an existing owner, because the link sets the password and one owner
    must not be able to take over another's membership.

    Raises:
        Problem: 409 if the address is already a member with another role, or an owner, or if the account has
            `members.PER_ACCOUNT_MAX` members and open invitations; 422 if it is not an e-mail address.
    """
    email = members.normalise_email(email)
    if not members.is_email(email):
        raise invalid(FieldError("email", "bad_email", gettext("must be an e-mail address")))
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    with connection.transaction():
        member = members.find_membership(connection, account_id, email)
        if member is not None:
            _require_invitable(member, role, by_operator=by_operator)
        connection.execute("/* invitations.prune */ DELETE FROM invitation WHERE ends_at <= statement_timestamp()")
        connection.execute(
            "/* invitations.replace */ DELETE FROM invitation WHERE email = %s AND account_id IS NOT DISTINCT FROM %s",
            (email, account_id),
        )
        if account_id is not None and member is None:
            members.require_room(connection, account_id)
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


def _require_invitable(member: members.Member, role: AnyRole, *, by_operator: bool) -> None:
    if member.role != role:
        detail = gettext(
            "%(email)s is already a member. Change their role instead, or use another address.", email=member.email
        )
        raise Problem(409, "member_exists", detail)
    if role == "owner" and not by_operator:
        detail = gettext(
            "%(email)s is already an owner. Only the operator can reset an owner's password.", email=member.email
        )
        raise Problem(409, "member_exists", detail)


def find(connection: Connection, token: str) -> Invitation | None:
    """Return the invitation of a link, or None if it was used or has expired."""
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
    """Return a sorted page of an account's open invitations; `after` is the last id of the previous page."""
    beyond, order = keyset.clauses("invitation", SORTS, sort, own=_OWN, cursor="bigint")
    values = {"account_id": account_id, "email": email, "after": after, "limit": limit}
    with connection.cursor(row_factory=class_row(Invitation)) as cursor:
        query = sql.SQL(_LIST).format(own=sql.SQL(_OWN), after=beyond, order=order)
        return cursor.execute(query, values, prepare=False).fetchall()


def withdraw(connection: Connection, account_id: str | None, invitation_id: int, *, actor: str) -> None:
    """Withdraw an invitation; do nothing if it was already accepted."""
    with connection.transaction():
        row = connection.execute(
            "/* invitations.withdraw */ DELETE FROM invitation WHERE id = %s AND account_id IS NOT DISTINCT FROM %s "
            "RETURNING email",
            (invitation_id, account_id),
        ).fetchone()
        if row is not None:
            audit.append(connection, account_id=account_id, actor=actor, action="member.uninvite", subject=row["email"])


def accept(connection: Connection, token: str, password: str) -> Member:
    """Accept an invitation: add the member, or change an existing member's password.

    Raises:
        Problem: 404 if the link was used or has expired; 422 if the password is not acceptable.
    """
    if errors := passwords.errors(password):
        raise invalid(*errors)
    password_hash = passwords.hash_password(password)  # slow, so outside the transaction
    with connection.transaction():
        invited = _spend(connection, token)
        if errors := passwords.errors(password, invited.email):
            raise invalid(*errors)
        return members.join(connection, invited.account_id, invited.email, invited.role, password_hash)


def accept_verified(connection: Connection, token: str, email: str) -> Member:
    """Accept an invitation for an address that the identity provider has verified.

    The password is replaced by a random one, so that one set by somebody else stops working.

    Raises:
        Problem: 403 if the invitation is for another address; 404 if the link was used or has expired.
    """
    password_hash = passwords.hash_password(secrets.token_urlsafe(_TOKEN_BYTES))  # unknown to everyone
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
