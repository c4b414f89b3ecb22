"""Which keys a service was told of: of those alone it may report usage, spend limits and learn what changed."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from keygauge_keyservice.database import Connection


def tell(connection: Connection, service: str | None, key_ids: Collection[str]) -> None:
    """Note that a service showed the secrets of keys, and is told of them."""
    if service is None:
        return
    connection.execute(
        "/* told_keys.tell */ INSERT INTO told_key (service, key_id) SELECT %s, unnest(%s::text[]) "
        "ON CONFLICT DO NOTHING",
        (service, sorted(key_ids)),
    )


def of(connection: Connection, service: str | None, key_ids: Sequence[str]) -> list[str]:
    """Return those of some keys that a service was told of."""
    if service is None:
        return list(key_ids)
    rows = connection.execute(
        "/* told_keys.of */ SELECT key_id FROM told_key WHERE service = %s AND key_id = ANY(%s)",
        (service, list(key_ids)),
    )
    return [row["key_id"] for row in rows]


def plans_of(connection: Connection, service: str | None, plan_ids: Collection[str]) -> set[str]:
    """Return those of some plans of which a service was told of a key."""
    if service is None or not plan_ids:
        return set(plan_ids)
    rows = connection.execute(
        "/* told_keys.plans_of */ SELECT plan_id FROM unnest(%s::text[]) AS asked (plan_id) CROSS JOIN LATERAL ("
        "SELECT FROM account JOIN key ON key.account_id = account.id JOIN told_key ON told_key.key_id = key.id "
        "WHERE account.plan_id = asked.plan_id AND told_key.service = %s LIMIT 1) AS told",
        (list(plan_ids), service),
    )
    return {row["plan_id"] for row in rows}


def of_plans(connection: Connection, service: str | None, plan_ids: Collection[str], *, most: int) -> list[str]:
    """Return keys of some plans that a service was told of, `most` at most."""
    rows = connection.execute(
        "/* told_keys.of_plans */ SELECT key.id FROM key JOIN account ON account.id = key.account_id "
        "WHERE account.plan_id = ANY(%(plans)s) AND key.status <> 'deleted' AND (%(service)s::text IS NULL OR "
        "EXISTS (SELECT FROM told_key WHERE told_key.key_id = key.id AND told_key.service = %(service)s)) "
        "LIMIT %(most)s",
        {"plans": list(plan_ids), "service": service, "most": most},
    )
    return [row["id"] for row in rows]


def accounts_of(connection: Connection, service: str | None, account_ids: Collection[str]) -> set[str]:
    """Return those of some accounts of which a service was told of a key."""
    if service is None:
        return set(account_ids)
    rows = connection.execute(
        "/* told_keys.accounts_of */ SELECT account_id FROM unnest(%s::text[]) AS asked (account_id) WHERE EXISTS ("
        "SELECT FROM key JOIN told_key ON told_key.key_id = key.id "
        "WHERE key.account_id = asked.account_id AND told_key.service = %s)",
        (list(account_ids), service),
    )
    return {row["account_id"] for row in rows}
