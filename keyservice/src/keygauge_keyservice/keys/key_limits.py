"""The tighter limits that a single key has of its own, beside those of its account's plan."""

from __future__ import annotations

from collections.abc import Sequence

from keygauge_keyservice.database import Connection
from keygauge_keyservice.journal import audit, change_feed
from keygauge_keyservice.keys import keys
from keygauge_keyservice.limits import definitions
from keygauge_keyservice.limits.definitions import Limit, Owner, terms


def find(connection: Connection, key_id: str) -> list[Limit]:
    """Return a key's own limits.

    Raises:
        Problem: 404.
    """
    keys.require(connection, key_id)
    return definitions.of_keys(connection, [key_id]).get(key_id, [])


def replace(connection: Connection, key_id: str, limits: Sequence[Limit], *, actor: str) -> list[Limit]:
    """Give a key other limits of its own, at once; those that keep name and measure keep the use counted so far.

    Raises:
        Problem: 404; 409, the key is deleted.
    """
    with connection.transaction():
        key = keys.lock(connection, key_id)
        old = find(connection, key_id)
        definitions.replace(connection, Owner(key_id=key_id), old, limits)
        audit.append(
            connection,
            account_id=key.account_id,
            actor=actor,
            action="key.replace_limits",
            subject=key_id,
            before={"limits": [terms(limit) for limit in old]},
            after={"limits": [terms(limit) for limit in limits]},
        )
        change_feed.record_keys(connection, [key_id])
        return find(connection, key_id)
