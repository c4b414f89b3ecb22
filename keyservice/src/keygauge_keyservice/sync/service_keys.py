"""The keys that each service has looked up: only for these may it report usage, spend limits and receive changes."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from keygauge_keyservice.database import Connection


def add(connection: Connection, service: str | None, key_ids: Collection[str]) -> None:
    """Record that a service has looked up keys by their secrets."""
    if service is None:
        return
    connection.execute(
        "/* service_keys.add */ "
        "WITH looked_up AS (SELECT %s::text AS service, id, account_id FROM key WHERE id = ANY(%s)), "
        "of_key AS (INSERT INTO service_key (service, key_id) SELECT service, id FROM looked_up ORDER BY id "
        "ON CONFLICT DO NOTHING) "
        "INSERT INTO service_account (service, account_id) SELECT DISTINCT service, account_id FROM looked_up "
        "ORDER BY account_id ON CONFLICT DO NOTHING",
        (service, list(key_ids)),
    )


def of(connection: Connection, service: str | None, key_ids: Sequence[str]) -> list[str]:
    """Return those of some keys that a service has looked up."""
    if service is None:
        return list(key_ids)
    rows = connection.execute(
        "/* service_keys.of */ SELECT key_id FROM service_key WHERE service = %s AND key_id = ANY(%s)",
        (service, list(key_ids)),
    )
    return [row["key_id"] for row in rows]


def plans_of(connection: Connection, service: str | None, plan_ids: Collection[str]) -> set[str]:
    """Return those of some plans that have a key which the service has looked up."""
    if service is None or not plan_ids:
        return set(plan_ids)
    rows = connection.execute(
        "/* service_keys.plans_of */ SELECT plan_id FROM unnest(%s::text[]) AS plan (plan_id) CROSS JOIN LATERAL ("
        "SELECT FROM account JOIN service_account ON service_account.account_id = account.id "
        "WHERE account.plan_id = plan.plan_id AND service_account.service = %s LIMIT 1) AS found",
        (list(plan_ids), service),
    )
    return {row["plan_id"] for row in rows}


def of_plans(connection: Connection, service: str | None, plan_ids: Collection[str], *, most: int) -> list[str]:
    """Return at most `most` keys of plans, in accounts with a looked-up key; filter them with `of`."""
    rows = connection.execute(
        "/* service_keys.of_plans */ SELECT of_account.id FROM account CROSS JOIN LATERAL ("
        "SELECT id FROM key WHERE account_id = account.id AND status <> 'deleted' "
        "ORDER BY created_at, id LIMIT %(most)s) AS of_account "
        "WHERE account.plan_id = ANY(%(plans)s) AND (%(service)s::text IS NULL OR EXISTS ("
        "SELECT FROM service_account "
        "WHERE service_account.account_id = account.id AND service_account.service = %(service)s)) "
        "LIMIT %(most)s",
        {"plans": list(plan_ids), "service": service, "most": most},
    )
    return [row["id"] for row in rows]


def accounts_of(connection: Connection, service: str | None, account_ids: Collection[str]) -> set[str]:
    """Return those of some accounts that have a key which the service has looked up."""
    if service is None:
        return set(account_ids)
    rows = connection.execute(
        "/* service_keys.accounts_of */ SELECT account_id FROM service_account "
        "WHERE service = %s AND account_id = ANY(%s)",
        (service, list(account_ids)),
    )
    return {row["account_id"] for row in rows}
