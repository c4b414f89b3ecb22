"""The Key inventory dashboard: which keys exist, and which of them need attention."""

from __future__ import annotations

from typing import Any

from keygauge_dashboards.dashboards.charts import to_key_of
from keygauge_dashboards.grafana.base import dashboard, ledger
from keygauge_dashboards.grafana.panel_types import field, hidden, limits, stat, states, table
from keygauge_dashboards.grafana.panels import Page, Section, View
from keygauge_dashboards.thresholds import Thresholds
from keygauge_dashboards.uids import KEYS_PAGE

UID = KEYS_PAGE
_WIDTHS = {"environment": 105, "plan": 75, "status": 80, "created": 115, "expires": 95, "last used": 145, "reason": 120}
_WIDTHS |= {"called": 60, "used": 60, "allowed addresses": 140, "since": 130}
_BOUNDS = ("allowed endpoints", "allowed models", "allowed addresses")
_STATES = {"active": "green", "disabled": "orange", "suspended": "red"}

_COUNT = """\
/* inventory.{what} */
SELECT count(*)::float8 AS keys
FROM grafana.key
WHERE {chosen_keys} AND {condition}"""

_EXPIRING = "status = 'active' AND expires_at BETWEEN now() AND now() + interval '{days} days'"
_UNUSED = "status = 'active' AND coalesce(last_used_at, created_at) < now() - interval '{days} days'"
_OVERDUE = "status = 'active' AND rotated_at + rotate_every_days * interval '1 day' < now()"

_ATTENTION = """\
/* inventory.attention */
SELECT id, name AS key, account_name AS account, environment, reason, since
FROM grafana.key CROSS JOIN LATERAL (VALUES
    ('expires soon', expires_at, {expiring}),
    ('not used', coalesce(last_used_at, created_at), {unused}),
    ('secret overdue', rotated_at + rotate_every_days * interval '1 day', {overdue})
) AS reason(reason, since, holds)
WHERE {chosen_keys} AND holds
ORDER BY reason, since
LIMIT 500"""

_ALL = """\
/* inventory.all */
SELECT id, name AS key, account_name AS account, environment, plan_id AS plan, status,
    created_at AS created, expires_at AS expires, last_used_at AS "last used"
FROM grafana.key
WHERE {chosen_keys} AND status <> 'deleted'
ORDER BY account_name, name
LIMIT 1000"""

# The least restricted keys first, with their use in the time range, which shows what restrictions would fit.
_OPEN = """\
/* inventory.open */
WITH used AS (
    SELECT inside AS key_id, count(DISTINCT part) FILTER (WHERE breakdown = 'key>route') AS routes,
        count(DISTINCT nullif(part, '')) FILTER (WHERE breakdown = 'key>model') AS models
    FROM grafana.usage_aggregate
    WHERE {chosen_use} AND length_s = 86400 AND breakdown IN ('key>route', 'key>model')
        AND requests > limited + client_errors
        AND bucket BETWEEN date_trunc('day', $__timeFrom()::timestamptz, 'UTC') AND $__timeTo()::timestamptz
    GROUP BY 1
)
SELECT key.id, key.name AS key, key.account_name AS account, key.environment,
    coalesce(nullif(array_to_string(key.routes, ', '), ''), 'all') AS "allowed endpoints",
    coalesce(used.routes, 0) AS "called",
    coalesce(nullif(array_to_string(key.models, ', '), ''), 'all') AS "allowed models",
    coalesce(used.models, 0) AS "used",
    coalesce(nullif(array_to_string(key.networks, ', '), ''), 'all') AS "allowed addresses", key.expires_at AS expires
FROM grafana.key LEFT JOIN used ON used.key_id = key.id
WHERE {chosen_keys} AND key.status = 'active'
    AND (key.routes = '{}' OR key.models = '{}' OR key.networks = '{}' OR key.expires_at IS NULL)
ORDER BY (key.routes = '{}')::integer + (key.models = '{}')::integer + (key.networks = '{}')::integer
    + (key.expires_at IS NULL)::integer DESC, key.environment, key.account_name, key.name
LIMIT 200"""

_CHANGES = """\
/* inventory.changes */
SELECT date_trunc('second', change.at) AS at, change.action AS event, coalesce(key.name, owner.name,
        CASE WHEN split_part(change.action, '.', 1) IN ('account', 'key', 'plan') THEN change.subject END) AS target,
    account.name AS account
FROM grafana.change
LEFT JOIN grafana.account ON account.id = change.account_id
LEFT JOIN grafana.key ON key.id = change.subject
LEFT JOIN grafana.account AS owner ON owner.id = change.subject
WHERE $__timeFilter(change.at) AND (change.account_id IS NULL OR {every_account} OR change.account_id = {accounts})
ORDER BY change.at DESC
LIMIT 500"""


def inventory(thresholds: Thresholds) -> Page:
    """Build the dashboard."""
    return dashboard(
        UID,
        "Key inventory",
        "Which keys exist, which need attention, and what has changed?",
        [
            Section("Attention", [*_counts(thresholds), _attention(thresholds)]),
            Section("Keys", [_every(), _open()]),
            Section("Changes", [_changed()]),
        ],
        since="now-30d",
        refresh="5m",
    )


def _conditions(thresholds: Thresholds) -> dict[str, Any]:
    return {
        "expiring": _EXPIRING.replace("{days}", str(max(thresholds.expiry_days))),
        "unused": _UNUSED.replace("{days}", str(thresholds.unused_days)),
        "overdue": _OVERDUE,
    }


def _counts(thresholds: Thresholds) -> list[View]:
    conditions = _conditions(thresholds)
    soon = max(thresholds.expiry_days)
    queries: tuple[tuple[str, str, str, str, dict[str, Any]], ...] = (
        ("Active keys", "How many keys can be used?", "active", "status = 'active'", {}),
        (
            f"Expiring in {soon} days",
            "How many keys expire soon, so that their calls will be refused? Rotate them with a grace period.",
            "expiring",
            conditions["expiring"],
            {"colours": limits(1), "alerts": ("KeyExpiring",)},
        ),
        (
            f"Unused for {thresholds.unused_days} days",
            "How many active keys does nobody use?",
            "unused",
            conditions["unused"],
            {"colours": limits(1), "alerts": ("KeyUnused",)},
        ),
        (
            "Secrets overdue",
            "How many secrets are older than their rotation interval?",
            "overdue",
            conditions["overdue"],
            {"colours": limits(1)},
        ),
    )
    return [
        stat(title, question, ledger(_COUNT, what=what, condition=condition), unit="none", no_value="0", **more)
        for title, question, what, condition, more in queries
    ]


def _attention(thresholds: Thresholds) -> View:
    return _of_keys(
        "Keys that need attention",
        "Which keys expire soon, are unused, or are due for rotation, and when?",
        ledger(_ATTENTION, **_conditions(thresholds)),
        height=5,
        overrides=[
            states("reason", **{"expires soon": "orange", "secret overdue": "orange", "not used": "blue"}),
            field("since", displayName="when", unit="dateTimeFromNow"),
        ],
        empty_is_fine="no key needs attention",
    )


def _every() -> View:
    dates = ("created", "expires", "last used")
    return _of_keys(
        "Keys",
        "Which keys exist, on which account and plan, and when were they last used? The first 1,000, by account.",
        ledger(_ALL),
        overrides=[
            states("status", **_STATES),
            *(field(name, unit="dateTimeFromNow") for name in dates),
            field("expires", noValue="never"),
        ],
        paged=True,
    )


def _open() -> View:
    return _of_keys(
        "Overly permissive keys",
        "Which active keys have no restriction on endpoints, models, addresses or expiry, the least restricted first? "
        "Used endpoints and models are those of the selected time range (whole days).",
        ledger(_OPEN),
        overrides=[
            *(states(name, all="orange") for name in _BOUNDS),
            field("expires", noValue="never", unit="dateTimeFromNow"),
        ],
        paged=True,
        empty_is_fine="every key is restricted to what it uses",
    )


def _changed() -> View:
    return table(
        "Changes",
        "What was changed on keys, accounts and plans, newest first? The portal's audit log says by whom.",
        ledger(_CHANGES),
        width=24,
        paged=True,
        widths={"at": 195},
    )


def _of_keys(title: str, description: str, target: Any, *, overrides: list[Any], height: int = 9, **view: Any) -> View:
    """List keys, each with a link to its dashboard."""
    opened = [
        *hidden("id"),
        to_key_of("key", "id"),
    ]
    return table(
        title,
        description,
        target,
        width=24,
        height=height,
        widths=_WIDTHS,
        overrides=[*opened, *overrides],
        **view,
    )
