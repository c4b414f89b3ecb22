"""The variables that every dashboard has: chosen once, kept from page to page.

Endpoint and model come twice. PromQL matches what is picked as a regular expression, and "All" matches the absence of a
label, too. SQL compares with a list of names, since any name can be quoted: a hidden variable has those names of the
ledger that the visible one matches.
"""

from __future__ import annotations

from keygauge import service_metrics as service
from keygauge.metrics import KEY, MODEL, REQUESTS, ROUTE, TOKENS, label
from keygauge_dashboards.grafana.panels import HIDDEN, POSTGRESQL, PROMETHEUS, Json, variable
from keygauge_dashboards.promql.queries import ENV, EVERYTHING, JOB, like, select

_ANYTHING = ".*"  # matches the absence of a label too; never put it into a list of SQL
NO_MODEL = "no model"  # stands for the model of calls that have none

# The lists that SQL compares with. One may be empty, and IN () is no SQL: `= ANY` an empty array is.
ACCOUNTS, KEYS, ENDPOINTS, MODELS = (
    f"ARRAY[${{{name}:sqlstring}}]::text[]" for name in ("account", "key", "ledger_endpoint", "ledger_model")
)

_NAMES = """\
/* variables.{name} */
SELECT DISTINCT coalesce(nullif(part, ''), '{none}') AS name
FROM grafana.margin
WHERE breakdown = '{breakdown}' AND inside = '' AND length_s = 86400
    AND bucket BETWEEN $__timeFrom()::timestamptz - interval '1 day' AND $__timeTo()
ORDER BY 1"""


def variables() -> list[Json]:
    """Return data sources, environment, job, account, key, endpoint, model and the width of bars."""
    return [
        variable("datasource", "datasource", "prometheus", label="Prometheus"),
        variable("postgresql", "datasource", "grafana-postgresql-datasource", label="PostgreSQL"),
        _query("env", "Environment", f"label_values({REQUESTS.prometheus_name}, {ENV})", allValue=_ANYTHING),
        _query("job", "Service", f"label_values({select(REQUESTS, scope={ENV: '$env'})}, {JOB})", allValue=_ANYTHING),
        _account(),
        _key(),
        _query("endpoint", "Endpoint", f"label_values({_of_job(ROUTE)})", allValue=_ANYTHING),
        _query("model", "Model", f"label_values({_of_job(MODEL)})", allValue=_ANYTHING),
        _ledger("endpoint", "route"),
        _ledger("model", "model"),
        _bars(),
    ]


def _bars() -> Json:
    """Let some thirty bars fill the time range, each of whole quarters of an hour, as the ledger has them.

    A fixed day would begin its only bar before a range of some hours, where nobody sees it.
    """
    return variable(
        "bucket", "interval", "15m,30m,1h,6h,1d", label="Bars of", auto=True, autoCount=30, autoMin="30m", refresh=2
    )


def _account() -> Json:
    """Show names, mean ids."""
    info = _lately(service.KEY_INFO.prometheus_name)
    return _query(
        "account",
        "Account",
        f"query_result(group by ({service.ACCOUNT}, {service.ACCOUNT_NAME}) ({info}))",
        regex=rf'/\b{service.ACCOUNT}="(?<value>[^"]+)".*\b{service.ACCOUNT_NAME}="(?<text>[^"]+)"/',
    )


def _key() -> Json:
    """Show names, mean ids. While no account is picked, calls without a key and folded keys are there, too."""
    info, identifier, name = service.KEY_INFO.prometheus_name, service.ID, service.NAME
    of_accounts = select(service.KEY_INFO, like(service.ACCOUNT, "$account"), scope=EVERYTHING)
    told = _lately(of_accounts)
    seen = f"group by ({label(KEY)}) ({REQUESTS.prometheus_name})"
    for target in (identifier, name):
        seen = f'label_replace({seen}, "{target}", "$1", "{label(KEY)}", "(.+)")'
    picked = f"count({info}) > count({of_accounts})"
    others = f"({seen} unless on ({identifier}) ({told})) unless on () ({picked})"
    return _query(
        "key",
        "Key",
        f"query_result(group by ({identifier}, {name}) ({told}) or group by ({identifier}, {name}) ({others}))",
        regex=rf'/\b{identifier}="(?<value>[^"]+)".*\b{name}="(?<text>[^"]+)"/',
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


def _of_job(attribute: str) -> str:
    metric = TOKENS if attribute == MODEL else REQUESTS
    return f"{select(metric, scope={ENV: '$env', JOB: '$job', KEY: '$key'})}, {label(attribute)}"


def _query(name: str, text: str, query: str, **options: str) -> Json:
    """Make a variable of a PromQL query; it follows the time range."""
    return variable(
        name,
        "query",
        {"qryType": 5, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
        label=text,
        dataSource=PROMETHEUS,
        includeAll=True,
        multi=True,
        refresh=2,
        **options,
    )
