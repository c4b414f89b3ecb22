"""The memberships of one person: an address can be a member of many accounts, with a separate password for each."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg.rows import class_row

from keygauge_keyservice.accounts.members import Member, normalise_email
from keygauge_keyservice.database import Connection


@dataclass(frozen=True)
class Reachable:
    """Another account that a member can switch to without signing in again."""

    member_id: int
    account_name: str
    role: str


def find_credentials(connection: Connection, email: str, *, member_id: int | None = None) -> tuple[int, str] | None:
    """Return id and password hash of the membership `member_id`, or of an address's first membership, or None."""
    found = list_credentials(connection, email)
    return next((one for one in found if member_id is None or one[0] == member_id), None)


def list_credentials(connection: Connection, email: str) -> list[tuple[int, str]]:
    """Return ids and password hashes of an address's memberships; verified ones, which others cannot create, first."""
    rows = connection.execute(
        "/* memberships.list_credentials */ SELECT id, password_hash FROM member WHERE email = %s "
        "ORDER BY is_verified DESC, id",
        (normalise_email(email),),
    )
    return [(row["id"], row["password_hash"]) for row in rows]


def is_current(connection: Connection, member_id: int, password_hash: str | None) -> bool:
    """Return whether a member still has a password; it cannot be changed before this transaction ends."""
    row = connection.execute(
        "/* memberships.is_current */ SELECT FROM member WHERE id = %s AND password_hash = %s FOR SHARE",
        (member_id, password_hash),
    ).fetchone()
    return row is not None


def list_reachable(connection: Connection, member: Member) -> list[Reachable]:
    """Return the other accounts that a member can switch to.

    Both memberships must have a verified address, since anyone can create a membership with somebody else's address and
    a password of their own. Operators have to sign in as operators.
    """
    with connection.cursor(row_factory=class_row(Reachable)) as cursor:
        return cursor.execute(
            "/* memberships.list_reachable */ "
            "SELECT other.id AS member_id, account.name AS account_name, other.role FROM member AS own "
            "JOIN member AS other ON other.email = own.email AND other.id <> own.id "
            "JOIN account ON account.id = other.account_id "
            "WHERE own.id = %s AND own.is_verified AND own.account_id IS NOT NULL AND other.is_verified "
            "ORDER BY account.name, other.id",
            (member.id,),
        ).fetchall()
