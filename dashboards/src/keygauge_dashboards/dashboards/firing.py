"""The table of firing alerts from Prometheus and Grafana, with links to their subjects."""

from __future__ import annotations

from keygauge import service_metrics as service
from keygauge.metrics import KEY, MODEL, label
from keygauge_dashboards.alerts.alert import SOURCE, Alert, anchor
from keygauge_dashboards.alerts.ledger import LedgerAlert, ledger_alerts
from keygauge_dashboards.alerts.prometheus import alerts
from keygauge_dashboards.grafana.base import ledger
from keygauge_dashboards.grafana.panel_types import field, hidden, keep, states, table
from keygauge_dashboards.grafana.panels import Json, Prometheus, View
from keygauge_dashboards.promql.queries import ALERTS, ENV, JOB, SINCE, by_
from keygauge_dashboards.thresholds import Thresholds

# Hidden columns for links: the dashboard about an alert, the variables to set there, and the key's id.
_PAGE, _SELECTED, _KEY_ID = "page", "selected", "of_key"
_FIRST = "first"  # a column that only pages have
_COLUMNS = {
    "alertname": "Alert",
    "severity": "Severity",
    "Value": "Since",
    service.ACCOUNT_NAME: "Account",
    service.NAME: "Key",
    service.LIMIT: "Limit",
    "job": "Service",
    "runbook": "Runbook",
    _PAGE: _PAGE,
    _SELECTED: _SELECTED,
    _KEY_ID: _KEY_ID,
}

# The variables that select an alert's subject, if its own link selects them too, and the labels with the values.
_SUBJECTS = {"job": JOB, "env": ENV, "account": service.ACCOUNT, "key": _KEY_ID, "model": label(MODEL)}

# The labels that tell rows apart; an alert about several windows, levels or processes of a subject is one row.
_ROW = ("alertname", "severity", service.ACCOUNT, service.KEY, service.ID, label(KEY), service.LIMIT, JOB, ENV, MODEL)

# On the linked dashboard, only the alert's subject is selected, taken from the row instead of this page's variables.
_SUBJECT = {
    "title": "Open dashboard",
    "url": f"/d/${{__data.fields.{_PAGE}}}?${{__url_time_range}}&${{datasource:queryparam}}&${{postgresql:queryparam}}"
    f"&${{__data.fields.{_SELECTED}}}",
}

# Each row of an alert's query is an alert. It lasts for one evaluation of 15 minutes, so its start is shown as now.
_LEDGER = """\
/* overview.ledger_alerts */
SELECT '{name}' AS alertname, '{severity}' AS severity, extract(epoch FROM now()) * 1000 AS "Value",
    coalesce(owner.account_name, fired.account) AS account_name, coalesce(owner.name, fired.key) AS name,
    NULL AS "limit", NULL AS job, '{name}' AS runbook, '{page}' AS page, 'var-key=' || fired.key AS selected,
    fired.key AS of_key
FROM (
{rows}
) AS fired LEFT JOIN grafana.key AS owner ON owner.id = fired.key
WHERE fired.account = {accounts} AND fired.key = {keys}
LIMIT 20"""


def firing(severity: str = ".+") -> str:
    """Select KeyGauge's firing alerts."""
    return f'{ALERTS}{{alertstate="firing", severity=~"{severity}", {SOURCE}}}'


def rows_to_act_on() -> str:
    """Count the rows of the table that are pages and tickets."""
    return f"count(group{by_(*_ROW)} ({firing('page|ticket')}))"


def firing_alerts(runbook: str) -> View:
    """List the firing alerts, pages first, then the newest first."""
    rows = table(
        "Firing alerts",
        "Which alerts are firing, since when, and about whom? Pages are first. Click an alert for its dashboard; "
        "the runbook says what to do.",
        Prometheus(_with_names(), instant=True, table=True),
        width=24,
        height=8,
        widths={"Alert": 215, "Severity": 75, "Since": 145, "Service": 100},
        transformations=[
            {"id": "merge", "options": {}},
            {
                "id": "sortBy",
                "options": {"sort": [{"field": _FIRST, "desc": False}]},
            },  # rows without it follow, in order
            *keep(**_COLUMNS),
        ],
        overrides=[
            *hidden(_PAGE, _SELECTED, _KEY_ID),
            field("Alert", links=[_SUBJECT]),
            states("Severity", page="red", ticket="orange", info="blue"),
            field("Since", unit="dateTimeFromNow"),
            _runbooks(runbook),
        ],
        empty_is_fine="no alert is firing",
        alerts=tuple(alert.name for alert in ledger_alerts()),
    )
    more = [
        ledger(
            _LEDGER, name=alert.name, severity=alert.severity, page=_page(alert), rows=alert.query.partition("\n")[2]
        )
        for alert in ledger_alerts()
    ]
    return View(**{**vars(rows), "targets": [*rows.targets, *more]})


def _with_names() -> str:
    """Return the start of each firing alert in milliseconds, with the names of its account and key."""
    since = f"{SINCE}{{{SOURCE}}} * 1000 and ignoring (alertstate) {firing()}"
    for name in (service.KEY, service.ID, label(KEY)):
        since = f'label_replace({since}, "of_key", "$1", "{name}", "(.+)")'
    key = _names(service.NAME, service.ID, "of_key")
    account = _names(service.ACCOUNT_NAME, service.ACCOUNT, service.ACCOUNT)
    for names, on, extra in ((key, "of_key", service.NAME), (account, service.ACCOUNT, service.ACCOUNT_NAME)):
        since = f"({since}) * on ({on}) group_left ({extra}) {names} or ignoring ({extra}) ({since})"
    since = f'label_replace({since}, "runbook", "$1", "alertname", "(.+)")'
    since = _with_page(since)
    since = f'label_replace({since}, "{_FIRST}", "1", "severity", "page")'
    columns = (column for column in (*_COLUMNS, _FIRST) if column != "Value")
    return f"sort_desc(max{by_(*columns)} ({since}))"


def _with_page(since: str) -> str:
    """Add the dashboard about each alert and the variables to set there."""
    pages: dict[str, list[str]] = {}
    for alert in alerts(Thresholds()):
        pages.setdefault(_page(alert), []).append(alert.name)
    for page, names in pages.items():
        since = f'label_replace({since}, "{_PAGE}", "{page}", "alertname", "{"|".join(dict.fromkeys(names))}")'
    for variable, label_name in _SUBJECTS.items():
        selecting = dict.fromkeys(alert.name for alert in alerts(Thresholds()) if f"&var-{variable}=" in alert.page)
        since = f'label_join({since}, "of", ":", "alertname", "{label_name}")'
        # Grafana does not escape &, # and + here: a page about all services is better than one about a wrong one.
        pattern = f"(?:{'|'.join(selecting)}):([^&#+]+)"
        since = f'label_replace({since}, "of_{variable}_", "var-{variable}=$1", "of", "{pattern}")'
    joined = ", ".join(f'"of_{variable}_"' for variable in _SUBJECTS)
    return f'label_join({since}, "{_SELECTED}", "&", {joined})'  # never empty, or the column would be missing


def _page(alert: Alert | LedgerAlert) -> str:
    """Return the uid of the dashboard about an alert."""
    return alert.page.removeprefix("/d/").partition("?")[0]


def _names(name: str, by: str, on: str) -> str:
    """Return one name per id, even while replicas of the key service report an old and a new one."""
    info = f'label_replace({service.KEY_INFO.prometheus_name}, "{on}", "$1", "{by}", "(.+)")'
    return f"topk by ({on}) (1, max by ({on}, {name}) ({info}))"


def _runbooks(runbook: str) -> Json:
    """Link to an alert's section in the runbook: the cell's text is the heading's anchor."""
    names = dict.fromkeys([*(one.name for one in alerts(Thresholds())), *(one.name for one in ledger_alerts())])
    mappings = {name: {"text": anchor(name), "index": index} for index, name in enumerate(names)}
    to = {"title": "Runbook", "url": f"{runbook}#${{__value.text}}", "targetBlank": True}
    return field("Runbook", links=[to], mappings=[{"type": "value", "options": mappings}])
