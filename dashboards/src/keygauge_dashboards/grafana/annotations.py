"""Annotations on every chart: deploys and restarts, and changes of keys and limits; pages are off by default."""

from __future__ import annotations

from keygauge_dashboards.grafana.panels import POSTGRESQL, PROMETHEUS, Json, sql_target
from keygauge_dashboards.grafana.variables import ACCOUNTS
from keygauge_dashboards.promql.queries import ALERTS

# Processes that start within ten minutes of each other, as those of a deploy do; the ledger does not know its version.
_STARTS = """\
/* annotations.starts */
WITH start AS (
    SELECT service, started_at, started_at - lag(started_at) OVER started < interval '10 minutes' AS goes_on
    FROM grafana.replica
    WINDOW started AS (PARTITION BY service ORDER BY started_at)
), numbered AS (
    SELECT service, started_at, count(*) FILTER (WHERE goes_on IS NOT TRUE) OVER started AS wave
    FROM start
    WINDOW started AS (PARTITION BY service ORDER BY started_at)
)
SELECT min(started_at) AS time, 'start of ' || service || ', processes: ' || count(*) AS text, 'start' AS tags
FROM numbered
GROUP BY service, wave
HAVING min(started_at) BETWEEN $__timeFrom() AND $__timeTo()"""

_CHANGES = """\
/* annotations.changes */
SELECT change.at AS time, change.action || ' ' || coalesce(key.name, account.name, change.subject) AS text,
    split_part(change.action, '.', 1) AS tags
FROM grafana.change
LEFT JOIN grafana.key ON key.id = change.subject
LEFT JOIN grafana.account ON account.id = change.subject
WHERE $__timeFilter(change.at)
    AND (change.account_id IS NULL OR '' = {accounts} OR change.account_id = {accounts})  -- '' is all
    AND split_part(change.action, '.', 1) IN ('account', 'key', 'plan') AND change.action <> 'account.view'
ORDER BY change.at DESC
LIMIT 200"""


def annotation_list(source: str, *, of_accounts: bool) -> list[Json]:
    """Return the annotations; `source` selects KeyGauge's alerts, `of_accounts` is whether accounts can be selected."""
    changes = [_sql("Keys and limits", "purple", _CHANGES.replace("{accounts}", f"ANY ({ACCOUNTS})"))]
    return [
        _sql("Deploys and restarts", "blue", _STARTS),
        *(changes if of_accounts else ()),
        {
            "name": "Pages",
            "datasource": PROMETHEUS,
            "enable": False,  # a region fills the chart for as long as its alert fires
            "iconColor": "red",
            "titleFormat": "{{alertname}}",
            "textFormat": "{{job}} {{account}} {{name}}",
            "tagKeys": "severity",
            "target": {
                "datasource": PROMETHEUS,
                "expr": f'{ALERTS}{{alertstate="firing", severity="page", {source}}}',
                "interval": "60s",
                "refId": "Anno",
            },
        },
    ]


def _sql(name: str, colour: str, query: str) -> Json:
    return {"name": name, "datasource": POSTGRESQL, "enable": True, "iconColor": colour, "target": sql_target(query)}
