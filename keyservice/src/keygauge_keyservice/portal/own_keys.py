"""Lookup of the viewed account's keys by id, name or label, and their names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence

from keygauge_keyservice.database import Connection
from keygauge_keyservice.errors import not_found
from keygauge_keyservice.keys import keys
from keygauge_keyservice.keys.keys import Key
from keygauge_keyservice.portal import auth
from keygauge_keyservice.texts import gettext

OFFERED_MAX = 100  # more are found by typing a name or id

_match_label = re.compile(r"(.+) \(kg_(?:live|test)_([0-9A-Za-z]{4})…\)", re.DOTALL).fullmatch


def require_own(connection: Connection, key_id: str) -> Key:
    """Return a key of the member's account, even a deleted one.

    Raises:
        Problem: 404 if there is no such key, or it belongs to another account.
    """
    key = keys.find(connection, key_id) if key_id.isalnum() else None
    if key is None or key.account_id != auth.current_account_id():
        raise not_found("key", key_id)
    return key


def require_chosen(connection: Connection, text: str) -> Key:
    """Return the key with an id, name or label.

    Raises:
        Problem: 404 if the account has no such key.
    """
    account_id, key = auth.current_account_id(), keys.find(connection, text) if text.isalnum() else None
    if key is None or key.account_id != account_id:
        label = _match_label(text)
        name, beginning = label.groups() if label else (text, "")
        key = keys.find_named(connection, account_id, name, beginning=beginning)
    if key is None:
        raise not_found("key", text)
    return key


def offered(connection: Connection) -> list[Key]:
    """Return the keys that a page offers for selection, oldest first."""
    return keys.list_keys(connection, auth.current_account_id(), limit=OFFERED_MAX)


def names(connection: Connection, key_ids: Collection[str], *, account_id: str | None = None) -> dict[str, str]:
    """Return keys' names by id, including deleted keys; pass `account_id` outside a request."""
    found = keys.find_many(connection, account_id or auth.current_account_id(), set(key_ids))
    return {
        key.id: gettext("%(key)s (deleted)", key=key.name) if key.status == "deleted" else key.name for key in found
    }


def labels(listed: Sequence[Key]) -> dict[str, str]:
    """Return keys' labels by id: the name, with the start of the key if several share the name."""
    times = Counter(key.name for key in listed)
    return {
        key.id: key.name if times[key.name] == 1 else f"{key.name} (kg_{key.environment}_{key.id[:4]}…)"
        for key in listed
    }
