"""Members: who may sign in to the portal, with passwords kept as argon2id."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Literal

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError
from psycopg.errors import UniqueViolation
from psycopg.rows import class_row

from keygauge_keyservice import accounts, audit
from keygauge_keyservice.database import Connection
from keygauge_keyservice.problem import FieldError, Problem, invalid, not_found

Role = Literal["owner", "member", "viewer"]

PASSWORD_LENGTH_MIN = 12
PASSWORD_LENGTH_MAX = 1024  # hashing costs time by length
_EMAIL_LENGTH_MAX = 254  # RFC 5321

_email = re.compile(r"[^@\s\x00-\x1f\x7f]+@[^@\s\x00-\x1f\x7f]+").fullmatch
_hasher = PasswordHasher()  # argon2id with the parameters of RFC 9106


@dataclass(frozen=True)
class Member:
    """A person who may see an account's keys and usage; viewers change nothing."""

    id: int
    account_id: str
    email: str
    role: Role

    @property
    def may_change(self) -> bool:
        """Tell whether the member may create, disable and delete keys."""
        return self.role != "viewer"


def create(
    connection: Connection, *, account_id: str, email: str, password: str, role: Role = "owner", actor: str
) -> Member:
    """Let a person sign in to an account's portal.

    Raises:
        Problem: 404, there is no such account; 409, the address is taken; 422, the address or password is not usable.
    """
    email = normalise_email(email)
    _check(email, password)
    with connection.transaction():
        accounts.require(connection, account_id)
        member_id = _insert(connection, account_id, email, role, _hasher.hash(password))
        after = {"email": email, "role": role}
        audit.append(
            connection, account_id=account_id, actor=actor, action="member.create", subject=str(member_id), after=after
        )
    return Member(member_id, account_id, email, role)


def list_members(connection: Connection, account_id: str) -> list[Member]:
    """Return an account's members by e-mail address.

    Raises:
        Problem: 404, there is no such account.
    """
    accounts.require(connection, account_id)
    with connection.cursor(row_factory=class_row(Member)) as cursor:
        return cursor.execute(
            "/* members.list */ SELECT id, account_id, email, role FROM member WHERE account_id = %s ORDER BY email",
            (account_id,),
        ).fetchall()


def set_password(connection: Connection, email: str, password: str, *, actor: str) -> Member:
    """Give a member another password and end all of the member's sessions.

    Raises:
        Problem: 404, there is no such member; 422, the password is not usable.
    """
    email = normalise_email(email)
    _check(email, password)
    with connection.transaction(), connection.cursor(row_factory=class_row(Member)) as cursor:
        member = cursor.execute(
            "/* members.set_password */ UPDATE member SET password_hash = %s "
            "WHERE email = %s AND account_id IS NOT NULL RETURNING id, account_id, email, role",
            (_hasher.hash(password), email),
        ).fetchone()
        if member is None:
            raise not_found("member", email)
        connection.execute("/* members.end_sessions */ DELETE FROM session WHERE member_id = %s", (member.id,))
        audit.append(
            connection,
            account_id=member.account_id,
            actor=actor,
            action="member.set_password",
            subject=str(member.id),
        )
    return member


def find_credentials(connection: Connection, email: str) -> tuple[int, str] | None:
    """Return a member's id and password hash by e-mail address, or None."""
    row = connection.execute(
        "/* members.find_credentials */ SELECT id, password_hash FROM member "
        "WHERE email = %s AND account_id IS NOT NULL",
        (normalise_email(email),),
    ).fetchone()
    return None if row is None else (row["id"], row["password_hash"])


def verify(password_hash: str | None, password: str) -> bool:
    """Tell whether a password is right; without a hash the answer is no, and takes as long."""
    nobodys_hash = _nobodys_hash()  # made at the first call, whoever it is for
    try:
        _hasher.verify(password_hash or nobodys_hash, password)
    except VerificationError:
        return False
    return password_hash is not None


def is_email(text: str) -> bool:
    """Tell whether a text may be an e-mail address."""
    return len(text) <= _EMAIL_LENGTH_MAX and _email(text) is not None


def normalise_email(email: str) -> str:
    """Write an address the one way it is stored and looked up."""
    return email.strip().casefold()


def _check(email: str, password: str) -> None:
    errors = []
    if not is_email(email):
        errors.append(FieldError("email", "bad_email", "give an e-mail address"))
    if not PASSWORD_LENGTH_MIN <= len(password) <= PASSWORD_LENGTH_MAX:
        detail = f"give {PASSWORD_LENGTH_MIN} to {PASSWORD_LENGTH_MAX} characters"
        errors.append(FieldError("password", "bad_length", detail))
    if errors:
        raise invalid(*errors)


def _insert(connection: Connection, account_id: str, email: str, role: Role, password_hash: str) -> int:
    try:
        [row] = connection.execute(
            "/* members.create */ INSERT INTO member (account_id, email, role, password_hash) "
            "VALUES (%s, %s, %s, %s) RETURNING id",
            (account_id, email, role, password_hash),
        ).fetchall()
    except UniqueViolation:
        raise Problem(409, "member_exists", f"There is a member {email!r} already.") from None
    return int(row["id"])


@cache
def _nobodys_hash() -> str:
    return _hasher.hash("no password matches this one, its answer is thrown away")
