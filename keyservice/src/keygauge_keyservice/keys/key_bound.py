"""The number of keys that an account can have: without a bound, one account could fill the database."""

from __future__ import annotations

from keygauge_keyservice.accounts import accounts
from keygauge_keyservice.database import Connection
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.texts import ngettext

PER_ACCOUNT_MAX = 100_000  # by default; deleted keys don't count


def require_room(connection: Connection, account_id: str, most: int) -> None:
    """Check that an account can have another key; no other transaction can create one until this one ends.

    Raises:
        Problem: 409 if it has `most` keys.
    """
    accounts.lock_additions(connection, account_id)
    _check(connection, account_id, most - 1, most)


def check(connection: Connection, account_id: str, most: int) -> None:
    """Check that an account has at most `most` keys.

    Raises:
        Problem: 409 if it has more.
    """
    _check(connection, account_id, most, most)


def _check(connection: Connection, account_id: str, allowed: int, most: int) -> None:
    [row] = connection.execute(
        "/* key_bound.count */ SELECT count(*) AS keys FROM key WHERE account_id = %s AND status <> 'deleted'",
        (account_id,),
    ).fetchall()
    if row["keys"] > allowed:
        raise Problem(
            409,
            "too_many_keys",
            ngettext(
                "An account can have at most %(most)s key. Delete keys that are no longer used, "
                "or ask the operator for more.",
                "An account can have at most %(most)s keys. Delete keys that are no longer used, "
                "or ask the operator for more.",
                most,
                most=most,
            ),
        )
