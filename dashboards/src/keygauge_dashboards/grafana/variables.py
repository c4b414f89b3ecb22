"""The variables of the dashboards, whose values are kept across dashboards.

There are two variables each for endpoint and model. PromQL matches the selection as a regular expression, and "All"
also matches the absence of a label. SQL compares with a list of names, since any name can be quoted: a hidden variable
has the ledger's names that match the visible one.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from keygauge import service_metrics as service
from keygauge.metrics import KEY, MODEL, REQUESTS, ROUTE, Metric, label
from keygauge_dashboards.grafana.panels import HIDDEN, POSTGRESQL, PROMETHEUS, Json, variable
from keygauge_dashboards.promql.queries import ENV, EVERYTHING, JOB, NO_MODEL, SCOPE, like, select

_ONCE, _WITH_TIME_RANGE = 1, 2  # Grafana's "refresh" of a variable's values
_EMPTY = "''"  # a list for SQL, without a name
_ANYTHING = ".*"  # also matches the absence of a label; never put it into a list in SQL
STATUS_CLASSES = ("2xx", "4xx", "429", "5xx")  # 2xx includes all below 400

# Lists for SQL comparisons. A list may be empty: `IN ()` would be invalid, `= ANY` of an empty array is not.
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


_EVERY_ACCOUNT = """\
/* variables.accounts */
SELECT id AS __value, name AS __text
FROM grafana.account
ORDER BY name
LIMIT 5000"""

_EVERY_KEY = """\
/* variables.keys */
SELECT id AS __value, name AS __text
FROM grafana.key
WHERE status <> 'deleted' AND ('' = {accounts} OR account_id = {accounts})
ORDER BY name
LIMIT 5000"""

_OWNER = """\
/* variables.owner */
SELECT account_id AS owner
FROM grafana.key
WHERE id = {keys}"""


def variables(names: Collection[str], *, only_sql: bool = False) -> list[Json]:
    """Return the named variables in reading order, data sources last.

    With `only_sql`, accounts and keys are those of the ledger instead of those that the metrics describe, and "All" is
    an empty name, so that it is not limited to the values offered.
    """
    seen = () if only_sql else names  # PromQL can't compare with an empty name
    every = {
        "account": _account(),
        "key": _key() if "account" in names else _one_key(),
        "owner": _owner(),
        "endpoint": _query("endpoint", "Endpoint", _seen(REQUESTS, ROUTE, seen), allValue=_ANYTHING),
        "model": _query("model", "Model", _seen(REQUESTS, MODEL, seen), allValue=_ANYTHING),
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
    if only_sql:
        every["account"] = _stored("account", "Account", _EVERY_ACCOUNT, allValue=_EMPTY)
        every["key"] = _stored("key", "Key", _EVERY_KEY, allValue=_EMPTY)
    return [written for name, written in every.items() if name in names]


def _of(*narrowed: str) -> str:
    return select(REQUESTS, scope={attribute: SCOPE[attribute] for attribute in narrowed})


def _account() -> Json:
    """Build the account variable, which shows names and has ids as values."""
    info = _lately(service.KEY_INFO.prometheus_name)
    return _query(
        "account",
        "Account",
        f"query_result(group by ({service.ACCOUNT}, {service.ACCOUNT_NAME}) ({info}))",
        regex=rf'/\b{service.ACCOUNT}="(?<value>[^"]+)".*\b{service.ACCOUNT_NAME}="(?<text>.+)"\}}/',
    )


def _key() -> Json:
    """Build the key variable, which shows names and has ids as values.

    If no account is selected, it includes the placeholders for calls without a key and for folded keys.
    """
    info, identifier, name = service.KEY_INFO.prometheus_name, service.ID, service.NAME
    of_accounts = select(service.KEY_INFO, like(service.ACCOUNT, "$account"), scope=EVERYTHING)
    recent = _lately(of_accounts)
    seen = f"group by ({label(KEY)}) ({REQUESTS.prometheus_name})"
    for target in (identifier, name):
        seen = f'label_replace({seen}, "{target}", "$1", "{label(KEY)}", "(.+)")'
    selected = f"count({info}) > count({of_accounts})"
    others = f"({seen} unless on ({identifier}) ({recent})) unless on () ({selected})"
    return _query(
        "key",
        "Key",
        f"query_result(group by ({identifier}, {name}) ({recent}) or group by ({identifier}, {name}) ({others}))",
        regex=rf'/\b{identifier}="(?<value>[^"]+)".*\b{name}="(?<text>.+)"\}}/',
    )


def _one_key() -> Json:
    """Build the variable of a single key, by name with the id as value; the default is the first by name."""
    name = f"group by ({service.ID}, {service.NAME}) ({_lately(service.KEY_INFO.prometheus_name)})"
    pattern = rf'/\b{service.ID}="(?<value>[^"]+)".*\b{service.NAME}="(?<text>.+)"\}}/'
    return _query("key", "Key", f"query_result({name})", regex=pattern, includeAll=False, multi=False, sort=1)


def _owner() -> Json:
    """Build the hidden variable with the account of the key, whose limits also apply."""
    return _stored("owner", "Owner", _OWNER, hide=HIDDEN)


def _stored(name: str, text: str, query: str, **options: Any) -> Json:
    """Build a variable from an SQL query."""
    query = query.replace("{accounts}", f"ANY ({ACCOUNTS})").replace("{keys}", f"ANY ({KEYS})")
    return _looked_up(name, text, query, dataSource=POSTGRESQL, **options)


def _lately(info: str) -> str:
    """Include keys and accounts that no longer exist: their usage is in the ledger, and "All" must include it.

    The range is sampled hourly, since a month of all samples exceeds Prometheus' limit; the last hour is read in full.
    """
    return f"{info} or last_over_time({info}[1h]) or last_over_time({info}[$__range:1h])"


def _ledger(name: str, breakdown: str) -> Json:
    """Build the hidden variable with the ledger's names of the selection, for SQL."""
    return variable(
        f"ledger_{name}",
        "query",
        _NAMES.format(name=f"{name}s", breakdown=breakdown, none=NO_MODEL),
        label=f"{name.capitalize()} in the ledger",
        dataSource=POSTGRESQL,
        includeAll=True,
        multi=True,
        refresh=_WITH_TIME_RANGE,
        hide=HIDDEN,
        regex=f"/^(${{{name}:regex}})$/",
    )


def _seen(metric: Metric, attribute: str, names: Collection[str]) -> str:
    """Build the query for the values of a label, filtered by the page's other variables."""
    narrowed = {one: SCOPE[one] for one in (ENV, JOB, KEY) if SCOPE[one].strip("$") in names}
    return f"label_values({select(metric, scope=narrowed)}, {label(attribute)})"


def _query(name: str, text: str, query: str, **options: Any) -> Json:
    """Build a variable from a PromQL query."""
    query_model = {"qryType": 5, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"}
    return _looked_up(name, text, query_model, dataSource=PROMETHEUS, **options)


def _looked_up(name: str, text: str, query: Any, **options: Any) -> Json:
    """Build a query variable, with several values unless the options say otherwise.

    Whenever Grafana looks up the values to offer, it replaces a selected one that is not among them, even on a page's
    own refresh: a link to an old key would soon show another one. So they are looked up once, unless "All" is the list
    of them, which must fit the time range.
    """
    settings: Json = {"includeAll": True, "multi": True} | options
    is_list = settings["includeAll"] and "allValue" not in settings
    refresh = _WITH_TIME_RANGE if is_list else _ONCE
    return variable(name, "query", query, label=text, refresh=refresh, **settings)
