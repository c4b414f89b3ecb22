"""A key's own limits, which apply in addition to those of its account's plan."""

from __future__ import annotations

import dataclasses
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


def replace(
    connection: Connection, key_id: str, limits: Sequence[Limit], *, actor: str, by_operator: bool = False
) -> list[Limit]:
    """Replace a key's own limits, effective immediately.

    Limits that keep their name and measure keep the usage counted so far.

    Raises:
        Problem: 404; 403 if anyone but an operator would change a limit set by an operator; 409 if the key is deleted.
    """
    with connection.transaction():
        key = keys.lock(connection, key_id)
        old = find(connection, key_id)
        limits = _owned(old, limits, by_operator=by_operator)
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


def _owned(old: Sequence[Limit], limits: Sequence[Limit], *, by_operator: bool) -> list[Limit]:
    """Return the limits with `by_operator` set; only an operator may change or remove those set by an operator."""
    if by_operator:
        return [dataclasses.replace(limit, by_operator=True) for limit in limits]
    theirs = {limit.name: limit for limit in old if limit.by_operator}
    given = {limit.name: limit for limit in limits}
    for name, limit in theirs.items():
        if name not in given or dataclasses.replace(given[name], by_operator=True, id=limit.id) != limit:
            raise keys.locked_by_operator(name)
    return [dataclasses.replace(limit, by_operator=limit.name in theirs) for limit in limits]
