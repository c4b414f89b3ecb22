"""Entries of keys and plans for replicas, as in the protocol, and look-ups of keys by digest."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from keygauge.protocol import Found, KeyEntry, LimitTerms, LookUp, PlanEntry, Replaced, Secret
from keygauge_keyservice.database import Connection
from keygauge_keyservice.limits import definitions
from keygauge_keyservice.secret import PepperError, Peppers

_log = logging.getLogger(__name__)
_REPLACED_MAX = 20  # latest ones of a key that are told apart from wrong secrets


def look_up(connection: Connection, look_ups: Collection[LookUp], peppers: Peppers) -> list[Found]:
    """Return the secrets that digests belong to; unknown keys and wrong secrets are both not found."""
    rows = connection.execute(
        "/* entries.look_up */ SELECT key_id, number, hash, pepper_version FROM key_secret "
        "WHERE key_id = ANY(%s) AND (expires_at IS NULL OR expires_at > clock_timestamp())",
        ([wanted.key for wanted in look_ups],),
    )
    secrets: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        secrets.setdefault(row["key_id"], []).append(row)
    return [found for wanted in look_ups if (found := _match(wanted, secrets.get(wanted.key, []), peppers))]


def find_replaced(connection: Connection, look_ups: Sequence[LookUp], peppers: Peppers) -> list[Replaced]:
    """Return those digests that belong to earlier secrets of keys; takes as much time for other digests."""
    if not look_ups:
        return []
    rows = connection.execute(
        "/* entries.replaced */ SELECT key.id, past.hash, pepper_version, "
        "floor(extract(epoch FROM ended))::bigint AS ended FROM key "
        "CROSS JOIN LATERAL (SELECT hash, pepper_version, expires_at AS ended FROM key_secret "
        "WHERE key_id = key.id AND expires_at <= clock_timestamp() ORDER BY number DESC LIMIT %s) AS past "
        "WHERE key.id = ANY(%s) AND key.status <> 'deleted'",
        (_REPLACED_MAX, [wanted.key for wanted in look_ups]),
    ).fetchall()
    replaced = []
    for wanted in look_ups:
        hashes = {version: peppers.hash(bytes.fromhex(wanted.digest), version) for version in peppers.by_version}
        replaced += [
            Replaced(wanted.digest, row["ended"])
            for row in rows
            if row["id"] == wanted.key and hmac.compare_digest(hashes.get(row["pepper_version"], b""), row["hash"])
        ][:1]
    return replaced


def load(connection: Connection, key_ids: Sequence[str]) -> dict[str, KeyEntry]:
    """Return the entries of keys by id, including deleted ones."""
    if not key_ids:
        return {}
    rows = connection.execute(
        "/* entries.load */ SELECT key.id, key.account_id AS account, key.name, account.plan_id AS plan, environment, "
        "CASE WHEN key.status = 'active' AND account.status <> 'active' THEN account.status ELSE key.status END "
        "AS status, ceil(extract(epoch FROM expires_at))::bigint AS expires_at, scopes, routes, networks, models, "
        "tools, plan.providers, "
        "(SELECT price.account_id FROM price WHERE price.account_id = account.id LIMIT 1) AS tariff "
        "FROM key JOIN account ON account.id = key.account_id JOIN plan ON plan.id = account.plan_id "
        "WHERE key.id = ANY(%s)",
        (list(key_ids),),
    ).fetchall()
    secrets = _secrets(connection, key_ids)
    limits = definitions.of_plans(connection, {row["plan"] for row in rows})
    own = definitions.of_keys(connection, key_ids)
    return {
        row["id"]: KeyEntry(
            **row,
            secrets=secrets.get(row["id"], []),
            limits=[
                *(_terms(limit, owner=_owner(limit, row)) for limit in limits.get(row["plan"], [])),
                *(_terms(limit, owner=_owner(limit, row), is_own=True) for limit in own.get(row["id"], [])),
            ],
        )
        for row in rows
    }


def load_plans(connection: Connection, plan_ids: Sequence[str]) -> dict[str, PlanEntry]:
    """Return the entries of plans, which their keys share, by plan id."""
    if not plan_ids:
        return {}
    rows = connection.execute(
        "/* entries.load_plans */ SELECT id, providers FROM plan WHERE id = ANY(%s)", (list(plan_ids),)
    ).fetchall()
    limits = definitions.of_plans(connection, plan_ids)
    return {row["id"]: PlanEntry(limits=[_terms(limit) for limit in limits.get(row["id"], [])], **row) for row in rows}


def _match(wanted: LookUp, secrets: Sequence[dict[str, Any]], peppers: Peppers) -> Found | None:
    digest = bytes.fromhex(wanted.digest)
    if not secrets:  # takes as much time as for an existing key
        hmac.compare_digest(peppers.hash(digest, peppers.newest), digest)
        return None
    for secret in secrets:
        try:
            if peppers.matches(digest, version=secret["pepper_version"], expected=secret["hash"]):
                return Found(wanted.digest, wanted.key, secret["number"])
        except PepperError as error:  # affects only one key, not the whole heartbeat
            _log.error("key %s cannot be checked: %s", wanted.key, error)
    return None


def _secrets(connection: Connection, key_ids: Sequence[str]) -> dict[str, list[Secret]]:
    rows = connection.execute(
        "/* entries.secrets */ SELECT key_id, number, ceil(extract(epoch FROM expires_at))::bigint AS expires_at "
        "FROM key_secret WHERE key_id = ANY(%s) AND (expires_at IS NULL OR expires_at > clock_timestamp()) "
        "ORDER BY number",
        (list(key_ids),),
    )
    secrets: dict[str, list[Secret]] = {}
    for row in rows:
        secrets.setdefault(row["key_id"], []).append(Secret(row["number"], row["expires_at"]))
    return secrets


def _owner(limit: definitions.Limit, key: Mapping[str, Any]) -> str:
    return f":{key['account'] if limit.subject == 'account' else key['id']}"


def _terms(limit: definitions.Limit, *, owner: str = "", is_own: bool = False) -> LimitTerms:
    return LimitTerms(
        id=f"{limit.id}{owner}",
        name=limit.name,
        unit=limit.unit,
        amount=limit.amount,
        window_s=limit.window_s,
        period=limit.period,
        when_down=limit.when_down,
        dry_run=limit.dry_run,
        route=limit.route,
        model=limit.model,
        tool=limit.tool,
        output_default=limit.output_default,
        when_unpriced=limit.when_unpriced,
        weights=limit.weights,
        unit_name=limit.unit_name,
        per_tag=limit.per_tag,
        whose="key" if is_own else "account" if limit.subject == "account" else "plan",
    )
