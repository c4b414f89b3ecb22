"""The Request log dashboard: single calls, to be filtered and followed."""

from __future__ import annotations

from keygauge_dashboards.grafana.base import KEY_PAGE, frame, ledger, link
from keygauge_dashboards.grafana.panel_types import bars, field, levels, limits, log
from keygauge_dashboards.grafana.panels import Page, Section, View, variable

UID = "keygauge-requests"
TRACE = "trace"  # the variable that exemplars fill in

_CALLS = """\
/* requests.calls */
SELECT time, key_id, coalesce((SELECT name FROM grafana.key WHERE key.id = event.key_id), key_id) AS key, method,
    route AS endpoint, status, error, outcome, limit_name AS "limit", ip, model, duration_us / 1e6 AS duration,
    first_token_us / 1e6 AS "first token", input_tokens AS "input", output_tokens AS "output",
    cost_nanousd / 1e9 AS cost, usage_status AS usage, trace_id AS trace
FROM grafana.event
WHERE $__timeFilter(time) AND {picked_calls}
    AND (${trace:sqlstring} = '' OR trace_id = ${trace:sqlstring})
ORDER BY time DESC, id DESC
LIMIT 1000"""

_ADDRESSES = """\
/* requests.addresses */
SELECT ip, count(*) AS requests, count(*) FILTER (WHERE status IN (400, 401, 403)) AS refused,
    count(*) FILTER (WHERE status = 429) AS limited, count(DISTINCT key_id) AS keys,
    min(time) AS first, max(time) AS last
FROM grafana.event
WHERE $__timeFilter(time) AND {picked_calls}
GROUP BY ip
ORDER BY requests DESC
LIMIT 100"""

_STATUSES = """\
/* requests.statuses */
SELECT $__timeGroup(time, $__interval) AS time, status::text AS metric, count(*) AS requests
FROM grafana.event
WHERE $__timeFilter(time) AND {picked_calls}
GROUP BY 1, 2
ORDER BY 1, 2"""


def requests() -> Page:
    """Make the dashboard."""
    return frame(
        UID,
        "API keys: request log",
        "Every call with its status, address, tokens, cost and trace; keep the time range short.",
        [
            Section("When and from where", _summary()),
            Section("Calls", _calls()),
        ],
        since="now-1h",
        more_variables=[variable(TRACE, "textbox", "", label="Trace id", chosen="")],
    )


def _summary() -> list[View]:
    return [
        bars(
            "When were calls made?",
            "Calls in the ledger by status.",
            [ledger(_STATUSES, over_time=True)],
            unit="short",
            width=12,
        ),
        log(
            "Which addresses call?",
            "Calls, refusals and keys by client address: repeated 400, 401 or 403 are worth a look.",
            ledger(_ADDRESSES),
            width=12,
            height=8,
            alerts=("NewClientIP", "AuthFailureBurst"),
        ),
    ]


def _calls() -> list[View]:
    return [
        log(
            "Which calls were made?",
            "The 1000 newest calls of the picked time range; filter by any column.",
            ledger(_CALLS),
            width=24,
            height=16,
            overrides=[
                field("duration", unit="s", decimals=3),
                field("first token", unit="s", decimals=3),
                field("cost", unit="currencyUSD", decimals=6),
                field("key_id", custom__hidden=True),
                field("key", links=[link("Open the key", KEY_PAGE, key="${__data.fields.key_id}")]),
                field("trace", links=[link("All calls of this trace", UID, trace="${__value.raw}")]),
                levels("status", limits(400, 500)),
            ],
        )
    ]
