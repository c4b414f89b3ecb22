"""`/metrics`: the current keys, limits and drift, and this process's own counters."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from flask import Blueprint, Response, request
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from keygauge.metrics import Metric, label
from keygauge.service_metrics import (
    KEY_EXPIRY,
    KEY_INFO,
    KEY_LAST_USED,
    LEDGER_CHECKED,
    LEDGER_COMPARED,
    LEDGER_DRIFT_REQUESTS,
    LEDGER_DRIFT_TOKENS,
    LIMIT_MAX,
    LIMIT_RESET,
    LIMIT_USED,
)
from keygauge.warning_levels import EXPIRES_SOON_DAYS, QUOTA_NEAR
from keygauge_keyservice.database import UNAVAILABLE, Connection
from keygauge_keyservice.ledger.replicas import replica_check
from keygauge_keyservice.limits import kinds
from keygauge_keyservice.limits.kinds import gcra
from keygauge_keyservice.limits.kinds.kind import STATE, TERMS
from keygauge_keyservice.limits.lease_rows import RETURN_TIME
from keygauge_keyservice.web.bearer_auth import require_reader
from keygauge_keyservice.web.context import services

_log = logging.getLogger(__name__)

ROWS_MAX = 800  # of keys and of limits; for more, use the replicas' metrics or SQL
_FEW = 100  # keys that expire soon, and new ones, however few others there is room for
_USES_MAX = 2 * ROWS_MAX  # per key and two hours, newest first
_SECOND_US = 1_000_000

_USED = """/* monitoring.used */
SELECT DISTINCT account_id, part AS id FROM (
    SELECT account_id, part FROM usage_aggregate
    WHERE length_s = 7200 AND breakdown = 'key' AND inside = '' AND bucket > now() - interval '1 day'
    ORDER BY bucket DESC LIMIT %s
) AS newest"""
_QUOTA = "period IS NOT NULL AND NOT per_tag AND NOT dry_run AND amount > 0"
_KEYS = f"""/* monitoring.keys */
SELECT key.id, key.name, account.id AS account, account.name AS account_name, account.plan_id AS plan, expires_at,
    last_used_at,
    CASE WHEN key.status = 'active' AND account.status <> 'active' THEN account.status ELSE key.status END AS status
FROM (
    SELECT id, min(place) AS place FROM (
        (SELECT id, 0 AS place FROM key
         WHERE expires_at > now() AND expires_at < now() + %(soon)s AND status = 'active'
         ORDER BY expires_at LIMIT %(few)s)
        UNION ALL
        SELECT key.id, 0 FROM key JOIN account ON account.id = key.account_id
        CROSS JOIN LATERAL (
            SELECT id, amount FROM plan_limit WHERE plan_id = account.plan_id AND subject = 'key' AND {_QUOTA}
            UNION ALL SELECT id, amount FROM plan_limit WHERE key_id = key.id AND {_QUOTA}
        ) AS quota
        JOIN limit_state AS state ON state.id = quota.id || ':' || key.id
            AND cells[1] >= %(share)s * amount AND ends[1] > extract(epoch FROM now()) * 1000000
        WHERE key.id = ANY(%(used)s)
        UNION ALL
        SELECT id, CASE WHEN number <= %(few)s THEN 1 ELSE 2 END FROM (
            SELECT id, row_number() OVER (ORDER BY created_at DESC, id) AS number FROM key
            WHERE status <> 'deleted' ORDER BY created_at DESC, id LIMIT %(most)s
        ) AS newest
        UNION ALL
        SELECT unnest(%(used)s::text[]), 2
    ) AS candidate GROUP BY id
) AS chosen JOIN key USING (id) JOIN account ON account.id = key.account_id
WHERE key.status <> 'deleted'
ORDER BY place, last_used_at DESC NULLS LAST, key.created_at DESC LIMIT %(most)s"""  # noqa: S608 - only the constant above is interpolated

blueprint = Blueprint("monitoring", __name__)


@blueprint.get("/metrics")
def expose() -> Response:
    """Serve metrics to callers with a token.

    Account names are not public, and requests through a local proxy look local.
    """
    require_reader()
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return Response(encode(_registry()), content_type=content_type)


@dataclass(frozen=True)
class KeyCollector(Collector):
    """A collector that reads keys, limits and ledger drift on each scrape; empty if the database is unavailable."""

    connect: Callable[[], AbstractContextManager[Connection]] = field(repr=False)

    def describe(self) -> list[Any]:
        """Return nothing, so that registering does not query the database."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield all metrics, from four queries."""
        try:
            with self.connect() as connection:
                keys = _keys(connection)
                limits, check = _limits(connection, keys), replica_check.find_check(connection)
        except UNAVAILABLE as error:
            _log.warning("this scrape lacks keys and limits: %s", type(error).__name__)
            return
        yield from _key_families(keys)
        yield from _limit_families(limits)
        if check is not None:
            yield from _drift_families(check)


def _registry() -> CollectorRegistry:
    """Return this process's registry; with two or more `keygauge serve` workers, one that sums over all of them."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return services().registry
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # it ships no types
    registry.register(KeyCollector(services().connection))
    return registry


def _key_families(rows: list[dict[str, Any]]) -> Iterator[GaugeMetricFamily]:
    info, expiry, last_used = _family(KEY_INFO), _family(KEY_EXPIRY), _family(KEY_LAST_USED)
    for row in rows:
        described = [row[name] for name in ("id", "name", "account", "account_name", "plan", "status")]
        info.add_metric(described, 1)
        _add_timestamp(expiry, row, "expires_at")
        _add_timestamp(last_used, row, "last_used_at")
    return iter((info, expiry, last_used))


def _limit_families(rows: list[dict[str, Any]]) -> Iterator[GaugeMetricFamily]:
    used, most, reset = _family(LIMIT_USED), _family(LIMIT_MAX), _family(LIMIT_RESET)
    for row in rows:
        unit = row["unit_name"] or row["unit"]
        labels = [row["account"], row["key"] or "", row["name"], unit, row["period"] or ""]
        state, reset_us = kinds.load(row).now(row, now_us=row["now_us"])
        used.add_metric(labels, max(0, state.used - row["held"]))
        most.add_metric(labels, gcra.burst(row["amount"]) if row["smooth"] else row["amount"])
        if reset_us is not None and row["unit"] != "concurrent":
            reset.add_metric(labels, reset_us / _SECOND_US)
    return iter((used, most, reset))


def _drift_families(check: replica_check.Check) -> Iterator[GaugeMetricFamily]:
    requests, tokens = _family(LEDGER_DRIFT_REQUESTS), _family(LEDGER_DRIFT_TOKENS)
    compared, checked = _family(LEDGER_COMPARED), _family(LEDGER_CHECKED)
    requests.add_metric(["missing"], check.missing_requests)
    requests.add_metric(["surplus"], check.surplus_requests)
    tokens.add_metric(["missing"], check.missing_tokens)
    tokens.add_metric(["surplus"], check.surplus_tokens)
    compared.add_metric([], check.requests)
    checked.add_metric([], check.at.timestamp())
    return iter((requests, tokens, compared, checked))


def _add_timestamp(family: GaugeMetricFamily, row: dict[str, Any], column: str) -> None:
    instant: datetime | None = row[column]
    if instant is not None:
        family.add_metric([row["id"], row["account"]], instant.timestamp())


def _family(metric: Metric) -> GaugeMetricFamily:
    labels = [label(attribute) for attribute in metric.attributes]
    return GaugeMetricFamily(metric.prometheus_name, metric.description, labels=labels)


def _keys(connection: Connection) -> list[dict[str, Any]]:
    """Return at most `ROWS_MAX` keys: those that need attention, the newest, then those used last.

    A key needs attention if it expires soon, or was used in the last day and has nearly used up a quota of its own.
    """
    used = connection.execute(_USED, (_USES_MAX,)).fetchall()
    values = {
        "used": [row["id"] for row in used],
        "soon": timedelta(days=EXPIRES_SOON_DAYS),
        "share": QUOTA_NEAR,
        "few": _FEW,
        "most": ROWS_MAX,
    }
    return connection.execute(_KEYS, values).fetchall()


def _limits(connection: Connection, keys: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return at most `ROWS_MAX` limits of these keys, their accounts and others; quotas nearly used up come first."""
    return connection.execute(
        f"/* monitoring.limits */ SELECT limits.*, {STATE}, "  # noqa: S608 - constants
        "(SELECT coalesce(sum(units - spent), 0)::bigint FROM lease WHERE state_id = limits.id AND NOT closed "
        f"AND ends_at > statement_timestamp() - CASE WHEN unit = 'concurrent' THEN interval '0' ELSE {RETURN_TIME} END "
        "AND (bucket = head OR period IS NULL)) AS held, "
        "(SELECT coalesce(sum(units), 0)::bigint FROM lease WHERE state_id = limits.id AND unit = 'concurrent' "
        "AND ends_at > statement_timestamp()) AS out, "
        "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now_us FROM ("
        "SELECT plan_limit.id || ':' || account.id AS id, account.id AS account, NULL AS key, "
        f"plan_limit.name, unit_name, {TERMS} "
        "FROM (SELECT id, plan_id FROM account "
        "WHERE plan_id IN (SELECT plan_id FROM plan_limit "
        "WHERE subject = 'account' AND NOT per_tag) "
        "ORDER BY id = ANY(%(accounts)s) DESC LIMIT %(most)s) AS account "
        "JOIN plan_limit USING (plan_id) WHERE subject = 'account' AND NOT per_tag "
        "UNION ALL SELECT plan_limit.id || ':' || key.id, account.id, key.id, "
        f"plan_limit.name, unit_name, {TERMS} "
        "FROM account JOIN plan_limit USING (plan_id) JOIN key ON key.account_id = account.id "
        "WHERE subject = 'key' AND NOT per_tag AND key.id = ANY(%(keys)s) "
        "UNION ALL SELECT plan_limit.id || ':' || key.id, key.account_id, key.id, "
        f"plan_limit.name, unit_name, {TERMS} "
        "FROM key JOIN plan_limit ON plan_limit.key_id = key.id "
        "WHERE NOT per_tag AND key.id = ANY(%(keys)s)) AS limits "
        "LEFT JOIN limit_state USING (id) ORDER BY coalesce(period IS NOT NULL AND cells[1] >= %(share)s * amount "
        "AND ends[1] > extract(epoch FROM now()) * 1000000, false) DESC, "
        "limits.account = ANY(%(accounts)s) DESC LIMIT %(most)s",
        {
            "share": QUOTA_NEAR,
            "keys": [row["id"] for row in keys],
            "accounts": list({row["account"] for row in keys}),
            "most": ROWS_MAX,
        },
    ).fetchall()
