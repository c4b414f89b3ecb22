"""Members: who may sign in to the portal, with passwords kept as argon2id."""

from __future__ import annotations

import re
from dataclasses import dataclass
from string import ascii_lowercase, ascii_uppercase
from typing import Literal

from psycopg import sql
from psycopg.errors import UniqueViolation
from psycopg.rows import class_row

from keygauge_keyservice import keyset
from keygauge_keyservice.accounts import accounts, passwords, tokens
from keygauge_keyservice.database import Connection
from keygauge_keyservice.errors import FieldError, Problem, invalid, not_found
from keygauge_keyservice.journal import audit
from keygauge_keyservice.texts import gettext, mark

Role = Literal["owner", "member", "viewer"]
ROLE_NAMES = {
    "operator": mark("Operator"),
    "owner": mark("Owner"),
    "member": mark("Member"),
    "viewer": mark("Viewer"),
}
AnyRole = Literal["owner", "member", "viewer", "operator"]

Sort = Literal["id", "email", "role", "-id", "-email", "-role"]
SORTS = {"id": "id", "email": "email", "role": "role"}
_OWN = "account_id IS NOT DISTINCT FROM %(account_id)s"
_LIST = """/* members.list */ SELECT id, account_id, email, role FROM member
WHERE {own} AND (%(email)s::text IS NULL OR email = %(email)s) AND (%(role)s::text IS NULL OR role = %(role)s)
AND {after} ORDER BY {order} LIMIT %(limit)s"""
_EMAIL_LENGTH_MAX = 254  # RFC 5321

_SMALL = str.maketrans(ascii_uppercase, ascii_lowercase)
_email = re.compile(r"[^@\s\x00-\x1f\x7f]+@[^@\s\x00-\x1f\x7f]+").fullmatch


@dataclass(frozen=True)
class Member:
    """A person who may see an account's keys and usage; an operator, who has no account, sees every one."""

    id: int
    account_id: str | None
    email: str
    role: AnyRole

    @property
    def may_change(self) -> bool:
        """Return whether the member may create, change and delete keys; an operator who looks on may not."""
        return self.role in {"owner", "member"}

    @property
    def may_manage(self) -> bool:
        """Return whether the member may invite others and change their roles."""
        return self.role == "owner"

    @property
    def is_operator(self) -> bool:
        """Return whether the member runs the service."""
        return self.role == "operator"


def create(
    connection: Connection, *, account_id: str | None, email: str, password: str, role: AnyRole = "owner", actor: str
) -> Member:
    """Let a person sign in to an account's portal, or, as an operator, to every one.

    Raises:
        Problem: 404, there is no such account; 409, the address is taken; 422, the address or password is not usable.
    """
    email = normalise_email(email)
    if (account_id is None) != (role == "operator"):
        raise invalid(FieldError("role", "wrong_role", "operators cannot belong to an account; every other role must"))
    _check(email, password)
    with connection.transaction():
        if account_id is not None:
            accounts.require(connection, account_id)
        made = _insert(connection, account_id, email, role, passwords.hash_password(password), actor=actor)
        _verify(connection, made)  # whoever may run this knows the person
        return made


def join(connection: Connection, account_id: str | None, email: str, role: AnyRole, password_hash: str) -> Member:
    """Make an invited person a member, or give the member of this account another password and end all sessions.

    Whoever had the link chose that password, so the address has to be verified anew.
    """
    with connection.transaction():
        member = find_membership(connection, account_id, email)
        if member is None:
            return _insert(connection, account_id, email, role, password_hash, actor=email)
        connection.execute("/* members.doubt */ UPDATE member SET is_verified = false WHERE id = %s", (member.id,))
        return _set_hash(connection, member, password_hash, actor=email)


def verify(connection: Connection, member: Member) -> None:
    """Note that the identity provider vouched for a member's address; from now on single sign-on enters."""
    with connection.transaction():
        if _verify(connection, member):
            audit.append(
                connection,
                account_id=member.account_id,
                actor=member.email,
                action="member.verify",
                subject=str(member.id),
            )


def list_members(
    connection: Connection,
    account_id: str | None,
    *,
    email: str | None = None,
    role: AnyRole | None = None,
    sort: Sort = "email",
    after: int | None = None,
    limit: int | None = None,
) -> list[Member]:
    """Return an account's members, or the operators, of an address or role, sorted: those after one, at most so many.

    Raises:
        Problem: 404, there is no such account.
    """
    if account_id is not None:
        accounts.require(connection, account_id)
    beyond, order = keyset.clauses("member", SORTS, sort, own=_OWN, cursor="bigint")
    values = {"account_id": account_id, "email": email, "role": role, "after": after, "limit": limit}
    with connection.cursor(row_factory=class_row(Member)) as cursor:
        query = sql.SQL(_LIST).format(own=sql.SQL(_OWN), after=beyond, order=order)
        return cursor.execute(query, values, prepare=False).fetchall()


def require(connection: Connection, account_id: str, member_id: int) -> Member:
    """Return a member of an account.

    Raises:
        Problem: 404, there is no such member in it.
    """
    for member in list_members(connection, account_id):
        if member.id == member_id:
            return member
    raise not_found("member", str(member_id))


def find_by_email(connection: Connection, email: str) -> Member | None:
    """Return the oldest membership of a normalised address, or None."""
    return next(iter(list_memberships(connection, email)), None)


def find_membership(connection: Connection, account_id: str | None, email: str) -> Member | None:
    """Return an address's membership of an account, or as an operator, or None."""
    found = (member for member in list_memberships(connection, email) if member.account_id == account_id)
    return next(found, None)


def list_memberships(connection: Connection, email: str, *, only_verified: bool = False) -> list[Member]:
    """Return the memberships of a normalised address, oldest first."""
    with connection.cursor(row_factory=class_row(Member)) as cursor:
        return cursor.execute(
            "/* members.list_memberships */ SELECT id, account_id, email, role FROM member "
            "WHERE email = %s AND (is_verified OR NOT %s) ORDER BY id",
            (email, only_verified),
        ).fetchall()


def set_password(
    connection: Connection, email: str, password: str, *, actor: str, member_id: int | None = None
) -> Member:
    """Give an address another password, for one of its memberships or all, and end the sessions.

    Raises:
        Problem: 404, there is no such member; 422, the password is not usable.
    """
    email = normalise_email(email)
    _check(email, password)
    with connection.transaction():
        found = [one for one in list_memberships(connection, email) if member_id is None or one.id == member_id]
        if not found:
            raise not_found("member", email)
        password_hash = passwords.hash_password(password)
        for member in found:
            _set_hash(connection, member, password_hash, actor=actor)
    return found[0]


def set_role(connection: Connection, account_id: str, member_id: int, role: Role, *, actor: str) -> Member:
    """Give a member of an account another role.

    Raises:
        Problem: 404, there is no such member in the account; 409, it would be left without an owner.
    """
    with connection.transaction():
        before = _lock(connection, account_id, member_id, leaves=role != "owner")
        if before.role == role:
            return before
        connection.execute("/* members.set_role */ UPDATE member SET role = %s WHERE id = %s", (role, member_id))
        _end_invitations(connection, before)
        if role == "viewer":
            tokens.revoke_of(connection, account_id, before.email, actor=actor)
        audit.append(
            connection,
            account_id=account_id,
            actor=actor,
            action="member.set_role",
            subject=before.email,
            before={"role": before.role},
            after={"role": role},
        )
    return Member(before.id, before.account_id, before.email, role)


def remove(connection: Connection, account_id: str, member_id: int, *, actor: str) -> Member:
    """Take a member out of an account, with the sessions and with the tokens that the member made.

    Raises:
        Problem: 404, there is no such member in the account; 409, it would be left without an owner.
    """
    with connection.transaction():
        member = _lock(connection, account_id, member_id, leaves=True)
        connection.execute("/* members.remove */ DELETE FROM member WHERE id = %s", (member_id,))
        _end_invitations(connection, member)
        tokens.revoke_of(connection, account_id, member.email, actor=actor)
        audit.append(
            connection,
            account_id=account_id,
            actor=actor,
            action="member.remove",
            subject=member.email,
            before={"role": member.role},
        )
    return member


def is_email(text: str) -> bool:
    """Return whether a text may be an e-mail address."""
    return len(text) <= _EMAIL_LENGTH_MAX and text.isprintable() and _email(text) is not None


def normalise_email(email: str) -> str:
    """Write an address the one way it is stored and looked up.

    Only A to Z are lowercased: others could turn into another person's address, like the Kelvin sign into `k`.
    """
    return email.strip().translate(_SMALL)


def _check(email: str, password: str) -> None:
    errors = [] if is_email(email) else [FieldError("email", "bad_email", gettext("must be an e-mail address"))]
    if errors := errors + passwords.errors(password):
        raise invalid(*errors)


def _insert(
    connection: Connection, account_id: str | None, email: str, role: AnyRole, password_hash: str, *, actor: str
) -> Member:
    try:
        [row] = connection.execute(
            "/* members.create */ INSERT INTO member (account_id, email, role, password_hash) "
            "VALUES (%s, %s, %s, %s) RETURNING id",
            (account_id, email, role, password_hash),
        ).fetchall()
    except UniqueViolation:
        raise Problem(409, "member_exists", gettext("%(email)s is already a member.", email=email)) from None
    after = {"email": email, "role": role}
    audit.append(
        connection, account_id=account_id, actor=actor, action="member.create", subject=str(row["id"]), after=after
    )
    return Member(row["id"], account_id, email, role)


def _verify(connection: Connection, member: Member) -> bool:
    cursor = connection.execute(
        "/* members.verify */ UPDATE member SET is_verified = true WHERE id = %s AND NOT is_verified", (member.id,)
    )
    return cursor.rowcount == 1


def _set_hash(connection: Connection, member: Member, password_hash: str, *, actor: str) -> Member:
    connection.execute(
        "/* members.set_password */ UPDATE member SET password_hash = %s WHERE id = %s", (password_hash, member.id)
    )
    connection.execute("/* members.end_sessions */ DELETE FROM session WHERE member_id = %s", (member.id,))
    audit.append(
        connection,
        account_id=member.account_id,
        actor=actor,
        action="member.set_password",
        subject=str(member.id),
    )
    return member


def _lock(connection: Connection, account_id: str, member_id: int, *, leaves: bool) -> Member:
    """Return a member of an account, all of whose members wait; `leaves`: it will be no owner any more."""
    connection.execute(
        "/* members.lock */ SELECT FROM member WHERE account_id = %s ORDER BY id FOR UPDATE", (account_id,)
    )
    found = {member.id: member for member in list_members(connection, account_id)}
    if member_id not in found:
        raise not_found("member", str(member_id))
    others = [one for one in found.values() if one.role == "owner" and one.id != member_id]
    if leaves and found[member_id].role == "owner" and not others:
        raise Problem(409, "last_owner", gettext("An account needs an owner. Promote someone else first."))
    return found[member_id]


def _end_invitations(connection: Connection, member: Member) -> None:
    """End the links that would let a member back in: those for the member and those the member made."""
    connection.execute(
        "/* members.end_invitations */ DELETE FROM invitation "
        "WHERE account_id = %(account_id)s AND (email = %(email)s OR created_by = %(email)s)",
        {"account_id": member.account_id, "email": member.email},
    )
