"""The keys of the account that is shown: found by id, named, and chosen by typing a label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from keygauge_keyservice.database import Connection
from keygauge_keyservice.errors import not_found
from keygauge_keyservice.keys import keys
from keygauge_keyservice.keys.keys import Key
from keygauge_keyservice.portal import auth
from keygauge_keyservice.usage.usage import Part

OFFERED_MAX = 500  # more are found by name or id


def require_own(connection: Connection, key_id: str) -> Key:
    """Return a key of the member's account, deleted ones too.

    Raises:
        Problem: 404, there is no such key here; another account's looks the same.
    """
    key = keys.find(connection, key_id) if key_id.isalnum() else None
    if key is None or key.account_id != auth.current_account_id():
        raise not_found("key", key_id)
    return key


def listed(connection: Connection, text: str | None) -> list[Key]:
    """Return the keys that a page offers, the oldest first, and that which a text names, by label or by id."""
    account_id = auth.current_account_id()
    found = keys.list_keys(connection, account_id, limit=OFFERED_MAX)
    if len(found) == OFFERED_MAX and text and text not in {word for key in found for word in (key.id, key.name)}:
        named = keys.find_named(connection, account_id, text)
        return [*found, named] if named else found
    return found


def name_keys(connection: Connection, listed: Sequence[Key], parts: Sequence[Part]) -> dict[str, str]:
    """Return the keys' names by id, deleted keys' too."""
    names = {key.id: key.name for key in listed}
    for part in parts:
        if part.group not in names:
            names[part.group] = name_of(require_own(connection, part.group))
    return names


def name_of(key: Key) -> str:
    """Return a key's name, and whether it is deleted."""
    return f"{key.name} (deleted)" if key.status == "deleted" else key.name


def labels(listed: Sequence[Key]) -> dict[str, str]:
    """Return the keys' ids by label: the name, with the key's beginning where several have it."""
    times = Counter(key.name for key in listed)
    return {
        key.name if times[key.name] == 1 else f"{key.name} (kg_{key.environment}_{key.id[:4]}…)": key.id
        for key in listed
    }


def id_of(text: str, known: Mapping[str, str]) -> str:
    """Return the id that a label stands for; what is no label is taken for an id."""
    return known.get(text, text)
