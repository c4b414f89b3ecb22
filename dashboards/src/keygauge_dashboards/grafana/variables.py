"""The variables of the dashboards: chosen once, kept from page to page.

Endpoint and model come twice. PromQL matches what is picked as a regular expression, and "All" matches the absence of a
label, too. SQL compares with a list of names, since any name can be quoted: a hidden variable has those names of the
ledger that the visible one matches.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from keygauge import service_metrics as service
from keygauge.metrics import KEY, MODEL, REQUESTS, ROUTE, Metric, label
from keygauge_dashboards.grafana.panels import HIDDEN, POSTGRESQL, PROMETHEUS, Json, variable
from keygauge_dashboards.promql.queries import ENV, EVERYTHING, JOB, NO_MODEL, SCOPE, like, select

_ANYTHING = ".*"  # matches the absence of a label too; never put it into a list of SQL
STATUS_CLASSES = ("2xx", "4xx", "429", "5xx")  # 2xx are all below 400

# The lists that SQL compares with. One may be empty, and IN () is no SQL: `= ANY` an empty array is.
ACCOUNTS, KEYS, ENDPOINTS, MODELS = (
    f"ARRAY[${{{name}:sqlstring}}]::text[]" for name in ("account", "key", "ledger_endpoint", "ledger_model")
)

_NAMES = """\
/* variables.{name} */
SELECT DISTINCT coalesce(nullif(part, ''), '{none}') AS name
FROM grafana.usage_aggregate
WHERE breakdown = '{breakdown}' AND inside = '' AND length_s = 86400
    AND bucket BETWEEN $__timeFrom()::timestamptz - interval '1 day' AND $__timeTo()
ORDER BY 1"""


def variables(names: Collection[str]) -> list[Json]:
    """Return those of the suite's variables in the order of reading; the data sources come last."""
    every = {
        "account": _account(),
        "key": _key() if "account" in names else _one_key(),
        "owner": _owner(),
        "endpoint": _query("endpoint", "Endpoint", _seen(REQUESTS, ROUTE, names), allValue=_ANYTHING),
        "model": _query("model", "Model", _seen(REQUESTS, MODEL, names), allValue=_ANYTHING),
        "ledger_endpoint": _ledger("endpoint", "route"),
        "ledger_model": _ledger("model", "model"),
        "status": variable(
            "status", "custom", ",".join(STATUS_CLASSES), label="Status", includeAll=True, multi=True, refresh=0
        ),
        "address": variable("address", "textbox", "", label="Client address", chosen=""),
        "trace": variable("trace", "textbox", "", label="Trace id", chosen=""),
        "before": variable("before", "textbox", "", label="Before (ms)", chosen=""),
        "job": _query("job", "Service", f"label_values({REQUESTS.prometheus_name}, {JOB})", allValue=_ANYTHING),
        "env": _query("env", "Environment", f"label_values({_of(JOB)}, {ENV})", allValue=_ANYTHING),
        "datasource": variable("datasource", "datasource", "prometheus", label="Prometheus"),
        "postgresql": variable("postgresql", "datasource", "grafana-postgresql-datasource", label="PostgreSQL"),
    }
    return [written for name, written in every.items() if name in names]


def _of(*narrowed: str) -> str:
    return select(REQUESTS, scope={attribute: SCOPE[attribute] for attribute in narrowed})


def _account() -> Json:
    """Show names, mean ids."""
    info = _lately(service.KEY_INFO.prometheus_name)
    return _query(
        "account",
        "Account",
        f"query_result(group by ({service.ACCOUNT}, {service.ACCOUNT_NAME}) ({info}))",
        regex=rf'/\b{service.ACCOUNT}="(?<value>[^"]+)".*\b{service.ACCOUNT_NAME}="(?<text>.+)"\}}/',
    )


def _key() -> Json:
    """Show names, mean ids. While no account is picked, calls without a key and folded keys are there, too."""
    info, identifier, name = service.KEY_INFO.prometheus_name, service.ID, service.NAME
    of_accounts = select(service.KEY_INFO, like(service.ACCOUNT, "$account"), scope=EVERYTHING)
    recent = _lately(of_accounts)
    seen = f"group by ({label(KEY)}) ({REQUESTS.prometheus_name})"
    for target in (identifier, name):
        seen = f'label_replace({seen}, "{target}", "$1", "{label(KEY)}", "(.+)")'
    picked = f"count({info}) > count({of_accounts})"
    others = f"({seen} unless on ({identifier}) ({recent})) unless on () ({picked})"
    return _query(
        "key",
        "Key",
        f"query_result(group by ({identifier}, {name}) ({recent}) or group by ({identifier}, {name}) ({others}))",
        regex=rf'/\b{identifier}="(?<value>[^"]+)".*\b{name}="(?<text>.+)"\}}/',
    )


def _one_key() -> Json:
    """Show one key's name, mean its id; the newest call's key is not known here, so the first by name is the first."""
    name = f"group by ({service.ID}, {service.NAME}) ({_lately(service.KEY_INFO.prometheus_name)})"
    pattern = rf'/\b{service.ID}="(?<value>[^"]+)".*\b{service.NAME}="(?<text>.+)"\}}/'
    return _query("key", "Key", f"query_result({name})", regex=pattern, includeAll=False, multi=False, sort=1)


def _owner() -> Json:
    """Know the account of the key, whose limits hold for it too."""
    info = _lately(select(service.KEY_INFO, like(service.ID, "$key"), scope=EVERYTHING))
    return _query(
        "owner",
        "Owner",
        f"query_result(group by ({service.ACCOUNT}) ({info}))",
        regex=rf'/\b{service.ACCOUNT}="([^"]+)"/',
        hide=HIDDEN,
    )


def _lately(info: str) -> str:
    """Take those that are gone, too: what they used is in the ledger still, and "All" must not leave it out.

    By the hour, since a month of all samples is more than Prometheus reads at once; the last hour in full.
    """
    return f"{info} or last_over_time({info}[1h]) or last_over_time({info}[$__range:1h])"


def _ledger(name: str, breakdown: str) -> Json:
    """Have the ledger's names of what is picked, for SQL."""
    return variable(
        f"ledger_{name}",
        "query",
        _NAMES.format(name=f"{name}s", breakdown=breakdown, none=NO_MODEL),
        label=f"{name.capitalize()} in the ledger",
        dataSource=POSTGRESQL,
        includeAll=True,
        multi=True,
        refresh=2,
        hide=HIDDEN,
        regex=f"/^(${{{name}:regex}})$/",
    )


def _seen(metric: Metric, attribute: str, names: Collection[str]) -> str:
    """Ask for the values of a label where the page's other variables lead to."""
    narrowed = {one: SCOPE[one] for one in (ENV, JOB, KEY) if SCOPE[one].strip("$") in names}
    return f"label_values({select(metric, scope=narrowed)}, {label(attribute)})"


def _query(name: str, text: str, query: str, **options: Any) -> Json:
    """Make a variable of a PromQL query; it follows the time range."""
    many: Json = {"includeAll": True, "multi": True}
    return variable(
        name,
        "query",
        {"qryType": 5, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
        label=text,
        dataSource=PROMETHEUS,
        refresh=2,
        **(many | options),
    )
