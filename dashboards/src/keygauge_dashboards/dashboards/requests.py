"""The Request log dashboard: single calls with filters and links."""

from __future__ import annotations

from keygauge_dashboards.dashboards.charts import calls, to_calls_from
from keygauge_dashboards.grafana.base import SERIES, STATUS_CLASS, dashboard, drill, ledger, link
from keygauge_dashboards.grafana.panel_types import STATUS_COLOURS, bars, coloured, field, table
from keygauge_dashboards.grafana.panels import Page, Section, View
from keygauge_dashboards.uids import LOG_PAGE

UID = LOG_PAGE
TRACE = "trace"  # the variable set by exemplars' links

_SELECTED_STATUSES = "ANY (ARRAY[${status:sqlstring}]::text[])"  # classes, or a single status from a link
_STATUS_AND_ADDRESS = f"""\
(({STATUS_CLASS}) = {_SELECTED_STATUSES} OR status::text = {_SELECTED_STATUSES})
    AND (${{address:sqlstring}} = '' OR ip = ${{address:sqlstring}})"""

# A page starts with the millisecond in which the previous one ended: a call may be on both, but none is missed.
_MORE = f"""
    AND {_STATUS_AND_ADDRESS}
    AND (${{trace:sqlstring}} = '' OR trace_id = ${{trace:sqlstring}})
    AND (${{before:sqlstring}} = '' OR time < to_timestamp((nullif(${{before:sqlstring}}, '')::float8 + 1) / 1000))"""

_ADDRESSES = """\
/* requests.addresses */
SELECT ip AS address, count(*) AS requests, count(*) FILTER (WHERE status IN (400, 401, 403)) AS refused,
    count(*) FILTER (WHERE status = 429) AS "429", count(DISTINCT key_id) AS keys, max(time) AS last
FROM grafana.event
WHERE $__timeFilter(time) AND outcome <> 'part' AND {selected_calls}
    AND {status_and_address}
GROUP BY ip
ORDER BY requests DESC
LIMIT 100"""

_STATUSES = """\
/* requests.statuses */
SELECT $__timeGroup(time, $__interval) AS time, {status_class} AS metric, count(*) AS requests
FROM grafana.event
WHERE $__timeFilter(time) AND outcome <> 'part' AND {selected_calls}
    AND {status_and_address}
GROUP BY 1, 2
ORDER BY 1, 2"""


def requests() -> Page:
    """Build the dashboard."""
    return dashboard(
        UID,
        "Request log",
        "Which calls were made, by whom, and how did each end? Keep the time range short.",
        [
            Section("When and from where", _summary()),
            Section(
                "Calls",
                [
                    calls(
                        "Calls",
                        "What are the 500 latest calls? For older ones, click the last row's time.",
                        most=500,
                        more=_MORE,
                        height=16,
                        paged=True,
                    )
                ],
            ),
        ],
        since="now-1h",
    )


def _summary() -> list[View]:
    return [
        drill(
            bars(
                "Calls by status",
                "When were calls made, and how did they end?",
                [ledger(_STATUSES, over_time=True, status_and_address=_STATUS_AND_ADDRESS)],
                unit="short",
                width=12,
                bar="1m",
                overrides=coloured(STATUS_COLOURS),
            ),
            "Only this status",
            UID,
            status=SERIES,
        ),
        table(
            "Client addresses",
            "Where do calls come from? Look into repeated 400, 401 or 403.",
            ledger(_ADDRESSES, status_and_address=_STATUS_AND_ADDRESS),
            widths={"requests": 75, "refused": 65, "429": 50, "keys": 50, "last": 140},
            overrides=[
                to_calls_from("address"),
                field("last", unit="dateTimeFromNow"),
                field("refused", links=[link("Refused calls", UID, status="4xx")]),
            ],
            alerts=("AuthFailureBurst",),
        ),
    ]
