"""Which keys a service was told of: of those alone it may report usage, spend limits and learn what changed."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from keygauge_keyservice.database import Connection


def tell(connection: Connection, service: str | None, key_ids: Collection[str]) -> None:
    """Note that a service showed the secrets of keys, and is told of them."""
    if service is None:
        return
    connection.execute(
        "/* told_keys.tell */ WITH told AS (SELECT %s::text AS service, id, account_id FROM key WHERE id = ANY(%s)), "
        "of_key AS (INSERT INTO told_key (service, key_id) SELECT service, id FROM told ORDER BY id "
        "ON CONFLICT DO NOTHING) "
        "INSERT INTO told_account (service, account_id) SELECT DISTINCT service, account_id FROM told "
        "ORDER BY account_id ON CONFLICT DO NOTHING",
        (service, list(key_ids)),
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
        "SELECT FROM account JOIN told_account ON told_account.account_id = account.id "
        "WHERE account.plan_id = asked.plan_id AND told_account.service = %s LIMIT 1) AS told",
        (list(plan_ids), service),
    )
    return {row["plan_id"] for row in rows}


def of_plans(connection: Connection, service: str | None, plan_ids: Collection[str], *, most: int) -> list[str]:
    """Return keys of some plans, of accounts that a service was told of, `most` at most: which of them `of` tells."""
    rows = connection.execute(
        "/* told_keys.of_plans */ SELECT of_account.id FROM account CROSS JOIN LATERAL ("
        "SELECT id FROM key WHERE account_id = account.id AND status <> 'deleted' "
        "ORDER BY created_at, id LIMIT %(most)s) AS of_account "
        "WHERE account.plan_id = ANY(%(plans)s) AND (%(service)s::text IS NULL OR EXISTS ("
        "SELECT FROM told_account WHERE told_account.account_id = account.id AND told_account.service = %(service)s)) "
        "LIMIT %(most)s",
        {"plans": list(plan_ids), "service": service, "most": most},
    )
    return [row["id"] for row in rows]


def accounts_of(connection: Connection, service: str | None, account_ids: Collection[str]) -> set[str]:
    """Return those of some accounts of which a service was told of a key."""
    if service is None:
        return set(account_ids)
    rows = connection.execute(
        "/* told_keys.accounts_of */ SELECT account_id FROM told_account WHERE service = %s AND account_id = ANY(%s)",
        (service, list(account_ids)),
    )
    return {row["account_id"] for row in rows}
