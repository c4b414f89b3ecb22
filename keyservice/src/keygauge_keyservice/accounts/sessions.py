"""Portal sessions: the cookie is random, and the database stores only its SHA-256."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from datetime import datetime

from keygauge_keyservice.accounts.members import Member
from keygauge_keyservice.database import Connection

LIFETIME_S = 12 * 3600
PER_MEMBER_MAX = 100
_TOKEN_BYTES = 32


@dataclass(frozen=True)
class Session:
    """A signed-in member's session; for an operator, `member.account_id` is the account being viewed."""

    hash: bytes = field(repr=False)
    member: Member
    csrf_token: str = field(repr=False)
    ends_at: datetime


def start(connection: Connection, member_id: int) -> str:
    """Start a session and return the value of its cookie; expired sessions end, and a member's oldest if too many."""
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    connection.execute("/* sessions.prune */ DELETE FROM session WHERE ends_at <= statement_timestamp()")
    connection.execute(
        "/* sessions.prune_oldest */ DELETE FROM session WHERE hash IN ("
        "SELECT hash FROM session WHERE member_id = %s ORDER BY ends_at DESC OFFSET %s)",
        (member_id, PER_MEMBER_MAX - 1),
    )
    connection.execute(
        "/* sessions.start */ INSERT INTO session (hash, member_id, csrf_token, ends_at) "
        "VALUES (%s, %s, %s, clock_timestamp() + make_interval(secs => %s))",
        (_hash(token), member_id, secrets.token_urlsafe(_TOKEN_BYTES), LIFETIME_S),
    )
    return token


def find(connection: Connection, token: str) -> Session | None:
    """Return the session of a cookie, or None if there is none or it has expired."""
    row = connection.execute(
        "/* sessions.find */ SELECT session.hash, session.csrf_token, session.ends_at, "
        "member.id, coalesce(member.account_id, session.account_id) AS account_id, member.email, member.role "
        "FROM session JOIN member ON member.id = session.member_id "
        "WHERE session.hash = %s AND session.ends_at > clock_timestamp()",
        (_hash(token),),
    ).fetchone()
    if row is None:
        return None
    member = Member(row["id"], row["account_id"], row["email"], row["role"])
    return Session(row["hash"], member, row["csrf_token"], row["ends_at"])


def view_account(connection: Connection, session: Session, account_id: str | None) -> None:
    """Set the account that an operator's session is viewing; None stops viewing."""
    connection.execute(
        "/* sessions.view_account */ UPDATE session SET account_id = %s WHERE hash = %s", (account_id, session.hash)
    )


def end(connection: Connection, session: Session) -> None:
    """End a session."""
    connection.execute("/* sessions.end */ DELETE FROM session WHERE hash = %s", (session.hash,))


def spend_form(connection: Connection, session: Session, form_id: str) -> bool:
    """Mark a form as submitted; return False if it was submitted before."""
    cursor = connection.execute(
        "/* sessions.spend_form */ INSERT INTO spent_form (session_hash, form_id) VALUES (%s, %s) "
        "ON CONFLICT DO NOTHING",
        (session.hash, form_id),
    )
    return cursor.rowcount == 1


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
