"""The Key inventory dashboard: which keys there are, and which of them want care."""

from __future__ import annotations

from keygauge_dashboards.dashboards import key
from keygauge_dashboards.grafana.base import drill, frame, ledger
from keygauge_dashboards.grafana.panel_types import donut, field, states, table
from keygauge_dashboards.grafana.panels import Page, Section, View
from keygauge_dashboards.thresholds import Thresholds

UID = "keygauge-keys"
_BOUNDS = ("may call", "may ask", "may come from")

_STATES = """\
/* inventory.states */
SELECT status, count(*) AS keys
FROM grafana.key
WHERE account_id = {accounts} AND status <> 'deleted'
GROUP BY 1
ORDER BY 1"""

_ALL = """\
/* inventory.all */
SELECT id, name AS key, account_name AS account, environment, plan_id AS plan, status,
    created_at AS created, expires_at AS expires, last_used_at AS "last used"
FROM grafana.key
WHERE account_id = {accounts} AND id = {keys} AND status <> 'deleted'
ORDER BY account_name, name
LIMIT 1000"""

_EXPIRING = """\
/* inventory.expiring */
SELECT id, name AS key, account_name AS account, environment, expires_at AS expires, last_used_at AS "last used"
FROM grafana.key
WHERE account_id = {accounts} AND id = {keys} AND status = 'active'
    AND expires_at BETWEEN now() AND now() + interval '{days} days'
ORDER BY expires_at
LIMIT 200"""

_UNUSED = """\
/* inventory.unused */
SELECT id, name AS key, account_name AS account, environment, last_used_at AS "last used", created_at AS created
FROM grafana.key
WHERE account_id = {accounts} AND id = {keys} AND status = 'active'
    AND coalesce(last_used_at, created_at) < now() - interval '{days} days'
ORDER BY last_used_at NULLS FIRST
LIMIT 200"""

# The fewer bounds a key has, the higher; what it did in the time range tells which bounds would not have hurt.
_OPEN = """\
/* inventory.open */
WITH used AS (
    SELECT inside AS key_id, count(DISTINCT part) FILTER (WHERE breakdown = 'key>route') AS routes,
        count(DISTINCT nullif(part, '')) FILTER (WHERE breakdown = 'key>model') AS models
    FROM grafana.margin
    WHERE account_id = {accounts} AND length_s = 86400 AND breakdown IN ('key>route', 'key>model')
        AND inside = {keys} AND requests > limited + client_errors
        AND bucket BETWEEN date_trunc('day', $__timeFrom()::timestamptz, 'UTC') AND $__timeTo()::timestamptz
    GROUP BY 1
)
SELECT key.id, key.name AS key, key.account_name AS account, key.environment,
    coalesce(nullif(array_to_string(key.routes, ', '), ''), 'all') AS "may call", coalesce(used.routes, 0) AS "called",
    coalesce(nullif(array_to_string(key.models, ', '), ''), 'all') AS "may ask", coalesce(used.models, 0) AS "asked",
    coalesce(nullif(array_to_string(key.networks, ', '), ''), 'anywhere') AS "may come from", key.expires_at AS expires
FROM grafana.key LEFT JOIN used ON used.key_id = key.id
WHERE key.account_id = {accounts} AND key.id = {keys} AND key.status = 'active'
    AND (key.routes = '{}' OR key.models = '{}' OR key.networks = '{}' OR key.expires_at IS NULL)
ORDER BY (key.routes = '{}')::integer + (key.models = '{}')::integer + (key.networks = '{}')::integer
    + (key.expires_at IS NULL)::integer DESC, key.environment, key.account_name, key.name
LIMIT 200"""

_OVERDUE = """\
/* inventory.overdue */
SELECT id, name AS key, account_name AS account, environment, rotated_at AS "secret since",
    rotate_every_days * 86400 AS "rotate every",
    extract(epoch FROM now() - rotated_at)::float8 - rotate_every_days * 86400 AS "overdue for"
FROM grafana.key
WHERE account_id = {accounts} AND id = {keys} AND status = 'active'
    AND rotated_at + rotate_every_days * interval '1 day' < now()
ORDER BY "overdue for" DESC
LIMIT 200"""

_NEW = """\
/* inventory.new */
SELECT id, name AS key, account_name AS account, environment, created_at AS created, last_used_at AS "last used"
FROM grafana.key
WHERE account_id = {accounts} AND id = {keys} AND status <> 'deleted'
    AND $__timeFilter(created_at)
ORDER BY created_at DESC
LIMIT 200"""

_CHANGES = """\
/* inventory.changes */
SELECT change.at, change.action, coalesce(key.name, change.subject) AS subject, account.name AS account
FROM grafana.change
LEFT JOIN grafana.account ON account.id = change.account_id
LEFT JOIN grafana.key ON key.id = change.subject
WHERE $__timeFilter(change.at) AND (change.account_id IS NULL OR change.account_id = {accounts})
ORDER BY change.at DESC
LIMIT 500"""


def inventory(thresholds: Thresholds) -> Page:
    """Make the dashboard."""
    return frame(
        UID,
        "API keys: inventory and hygiene",
        "Which keys there are; which expire, lie unused, may do too much or are new; what was changed.",
        [
            Section("Keys", _keys()),
            Section("What wants care", _care(thresholds)),
            Section("What happened", _happened()),
        ],
        since="now-30d",
    )


def _keys() -> list[View]:
    every = table(
        "Which keys are there?",
        "All living keys of the picked accounts; a click opens the key.",
        ledger(_ALL),
        width=18,
        overrides=[states("status", active="green", disabled="orange", suspended="red")],
    )
    return [
        donut("How many keys are in which state?", "Living keys by state.", ledger(_STATES), unit="short", width=6),
        _open(every),
    ]


def _care(thresholds: Thresholds) -> list[View]:
    soon = max(thresholds.expiry_days)
    return [
        _open(
            table(
                f"Which keys expire within {soon} days?",
                "Living keys whose calls will be refused soon: rotate them with a grace period.",
                ledger(_EXPIRING, days=soon),
                empty_is_fine="no key expires soon",
                alerts=("KeyExpiring",),
            )
        ),
        _open(
            table(
                f"Which keys have not been used for {thresholds.unused_days} days?",
                "Active keys that nobody needs; an empty last use means never.",
                ledger(_UNUSED, days=thresholds.unused_days),
                empty_is_fine="every key is in use",
                alerts=("KeyUnused",),
            )
        ),
        _open(
            table(
                "Which keys may do more than they do?",
                "Active keys without a bound on endpoints, models, addresses or time, the least bound first, and what "
                "they called and asked, by whole days, in the picked time range: give them just that.",
                ledger(_OPEN),
                width=24,
                overrides=[
                    *(states(name, all="orange", anywhere="orange") for name in _BOUNDS),
                    field("expires", noValue="never"),
                ],
                empty_is_fine="every key is bound to what it does",
            )
        ),
        _open(
            table(
                "Which keys should have a new secret?",
                "Active keys whose secret is older than their owner wanted it to become.",
                ledger(_OVERDUE),
                overrides=[field("rotate every", unit="s"), field("overdue for", unit="s")],
                empty_is_fine="every secret is young enough",
            )
        ),
    ]


def _happened() -> list[View]:
    return [
        _open(table("Which keys are new?", "Keys made in the picked time range.", ledger(_NEW))),
        table(
            "What was changed?",
            "Changes of keys, accounts and plans, newest first; by whom is in the portal.",
            ledger(_CHANGES),
        ),
    ]


def _open(view: View) -> View:
    return drill(view, "Open the key", key.UID, key="${__data.fields.id}")
