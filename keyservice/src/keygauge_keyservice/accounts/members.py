"""Members: the people who can sign in to the portal. Passwords are stored as argon2id hashes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from string import ascii_lowercase, ascii_uppercase
from typing import Literal
from unicodedata import normalize

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
PER_ACCOUNT_MAX = 500  # including those who are invited
_EMAIL_LENGTH_MAX, _LOCAL_PART_LENGTH_MAX = 254, 64  # RFC 5321

_SMALL = str.maketrans(ascii_uppercase, ascii_lowercase)
# Without quotes, comments, lists, routes and pipes: in a mail's header, they could name another recipient.
_ATOM, _LABEL = r"[^\s@.\u3002\"(),:;<>\[\\\]!%|`]+", r"(?!-)[^\x00-,./:-@\[-`{-\x7f\u3002]+(?<!-)"
_email = re.compile(rf"({_ATOM}(?:\.{_ATOM})*)@{_LABEL}(?:\.{_LABEL})*").fullmatch


@dataclass(frozen=True)
class Member:
    """A person with access to an account; an operator (`account_id` None) has access to every account."""

    id: int
    account_id: str | None
    email: str
    role: AnyRole

    @property
    def may_change(self) -> bool:
        """Whether the member may create, change and delete keys; operators viewing an account may not."""
        return self.role in {"owner", "member"}

    @property
    def may_manage(self) -> bool:
        """Whether the member may invite others and change their roles."""
        return self.role == "owner"

    @property
    def is_operator(self) -> bool:
        """Whether the member is an operator of the service."""
        return self.role == "operator"


def create(
    connection: Connection, *, account_id: str | None, email: str, password: str, role: AnyRole = "owner", actor: str
) -> Member:
    """Create a member of an account, or an operator, whose e-mail address counts as verified.

    Raises:
        Problem: 404 if there is no such account; 409 if the address is already a member, or the account has
            `PER_ACCOUNT_MAX` members and open invitations; 422 if the role, address or password is invalid.
    """
    email = normalise_email(email)
    if (account_id is None) != (role == "operator"):
        raise invalid(FieldError("role", "wrong_role", "operators cannot belong to an account; every other role must"))
    _check(email, password)
    with connection.transaction():
        if account_id is not None:
            accounts.require(connection, account_id)
            require_room(connection, account_id)
        made = _insert(connection, account_id, email, role, passwords.hash_password(password), actor=actor)
        _verify(connection, made)  # the operator who calls this vouches for the address
        return made


def join(connection: Connection, account_id: str | None, email: str, role: AnyRole, password_hash: str) -> Member:
    """Add an invited person as a member; for an existing member, change the password and end all sessions.

    The existing member's address becomes unverified, because anybody with the link could have set the password.
    """
    with connection.transaction():
        member = find_membership(connection, account_id, email)
        if member is None:
            return _insert(connection, account_id, email, role, password_hash, actor=email)
        connection.execute("/* members.doubt */ UPDATE member SET is_verified = false WHERE id = %s", (member.id,))
        return _set_hash(connection, member, password_hash, actor=email)


def verify(connection: Connection, member: Member) -> None:
    """Record that the identity provider verified a member's address, which allows single sign-on."""
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
    """Return a sorted page of an account's members, or of the operators, filtered by address or role.

    `after` is the last id of the previous page.

    Raises:
        Problem: 404 if there is no such account.
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
        Problem: 404 if there is no such member in the account.
    """
    for member in list_members(connection, account_id):
        if member.id == member_id:
            return member
    raise not_found("member", str(member_id))


def find_membership(connection: Connection, account_id: str | None, email: str) -> Member | None:
    """Return the membership of an address in an account (None: as an operator), or None."""
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
    """Change the password of one or all memberships of an address, and end their sessions.

    Raises:
        Problem: 404 if there is no such member; 422 if the address or password is invalid.
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
    """Change the role of an account's member.

    Raises:
        Problem: 404 if there is no such member in the account; 409 if the account would be left without an owner.
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
    """Remove a member from an account, end their sessions and revoke the tokens they created.

    Raises:
        Problem: 404 if there is no such member in the account; 409 if the account would be left without an owner.
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


def require_room(connection: Connection, account_id: str) -> None:
    """Check that an account can have another member; no other transaction can add one until this one ends.

    Raises:
        Problem: 409 if it has `PER_ACCOUNT_MAX` members and open invitations.
    """
    accounts.lock_additions(connection, account_id)
    [row] = connection.execute(
        "/* members.count */ SELECT (SELECT count(*) FROM member WHERE account_id = %(id)s) "
        "+ (SELECT count(*) FROM invitation WHERE account_id = %(id)s) AS members",
        {"id": account_id},
    ).fetchall()
    if row["members"] >= PER_ACCOUNT_MAX:
        detail = gettext(
            "An account can have at most %(most)s members and open invitations. Remove one first.",
            most=PER_ACCOUNT_MAX,
        )
        raise Problem(409, "too_many_members", detail)


def is_email(text: str) -> bool:
    """Return whether a text is an e-mail address that mail servers can only read in one way."""
    if len(text) > _EMAIL_LENGTH_MAX or not text.isprintable() or normalize("NFKC", text) != text:
        return False
    found = _email(text)
    return found is not None and len(found[1]) <= _LOCAL_PART_LENGTH_MAX


def normalise_email(email: str) -> str:
    """Return an address in the form in which it is stored and looked up.

    Only A to Z are lowercased. Lowercasing other characters could produce another person's address: the Kelvin sign
    becomes `k`.
    """
    return email.strip().translate(_SMALL)


def _check(email: str, password: str) -> None:
    errors = [] if is_email(email) else [FieldError("email", "bad_email", gettext("must be an e-mail address"))]
    if errors := errors + passwords.errors(password, email):
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
    """Lock all members of an account and return one; `leaves`: the member is about to lose the owner role."""
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
    """Delete invitations that would let a member back in: those for the member and those created by the member."""
    connection.execute(
        "/* members.end_invitations */ DELETE FROM invitation "
        "WHERE account_id = %(account_id)s AND (email = %(email)s OR created_by = %(email)s)",
        {"account_id": member.account_id, "email": member.email},
    )
