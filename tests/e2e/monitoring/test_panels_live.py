"""Every panel with the demo's real traffic: SDKs, API, OTLP, collector and Prometheus; ledger and PostgreSQL."""

import json
import math
import os
import subprocess
import sys
import time
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grafana
import openai
import psycopg
import pytest

from keygauge_dashboards.dashboards.suite import pages
from keygauge_dashboards.grafana.panels import POSTGRESQL, Prometheus, Sql
from keygauge_dashboards.thresholds import Thresholds
from keygauge_demo.api.answers import compose
from keygauge_demo.api.catalog import MODELS
from keygauge_demo.customers import seed

pytestmark = [pytest.mark.timeout(900)]

TRAFFIC_S = 12
SPAN_S = 300
SAMPLES_APART_S = 3  # more than an export and a scrape
# The selected value of each variable, for a key that gets limited and gets an error below.
KEY_NAME, MODEL, ROUTE = "Research notebook", "gpt-5.4-mini", "/v1/chat/completions"
OTLP = {
    "OTEL_SERVICE_NAME": "demo-api",
    "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=live",
    "OTEL_METRIC_EXPORT_INTERVAL": "1000",
}
# Panels without data from this traffic; tests/dashboards fills them from synthetic series and rows.
NOT_HERE = {
    "Refused/s by reason",
    "Firing alerts",
    "keygauge-overview: Firing alerts",
    "keygauge-models: Other kinds of use",
    "Unreadable usage/s",
    "Refused events/s",
}


@pytest.fixture
def addresses(cold_stack, collector):
    """Start everything; return the addresses for Prometheus."""
    page = collector("config.yaml")
    cold_stack.start_service()
    cold_stack.start_api(**OTLP, OTEL_EXPORTER_OTLP_ENDPOINT=page.otlp_url)
    return {**page.addresses, "keyservice:8080": f"127.0.0.1:{cold_stack.port_service}"}


@pytest.fixture
def planted(cold_stack, addresses, tmp_path):
    """The demo's customers, after some seconds of calls."""
    environ = {
        **os.environ,
        "KEYGAUGE_SERVICE_URL": cold_stack.service_url,
        "KEYGAUGE_ADMIN_TOKEN": cold_stack.admin_token,
        "DEMO_API_URL": cold_stack.api_url,
        "DEMO_STATE": str(tmp_path / "traffic"),
        "DEMO_SECONDS": str(TRAFFIC_S),
    }

    def create():
        subprocess.run([sys.executable, "-m", "keygauge_demo.remote"], env=environ, check=True, capture_output=True)
        return seed.read(Path(environ["DEMO_STATE"]) / "seed.json")

    return create


def test_every_query_returns_data_with_or_without_filters(cold_stack, addresses, planted, run_prometheus, eventually):
    with run_prometheus(addresses, cold_stack.service_token) as prometheus:
        planted_seed = planted()
        _meet_errors_and_limits(cold_stack, planted_seed.tokens[KEY_NAME])
        _expire_soon(cold_stack, planted_seed.key_ids[KEY_NAME])
        one = {
            "env": ["live"],
            "job": ["demo-api"],
            "account": [planted_seed.account_ids[KEY_NAME]],
            "key": [planted_seed.key_ids[KEY_NAME]],
            "endpoint": [ROUTE],
            "model": [MODEL],
        }
        every = dict.fromkeys(one, grafana.All(custom=".*")) | {
            "account": grafana.All(tuple(set(planted_seed.account_ids.values()))),
            "key": grafana.All(tuple(planted_seed.key_ids.values())),
        }
        eventually(lambda: _empty_charts(prometheus, every) - NOT_HERE, set(), timeout_s=150)
        eventually(lambda: _empty_charts(prometheus, one) - _may_be_empty(), set(), timeout_s=150)
        _backdate_key(cold_stack, planted_seed.key_ids[KEY_NAME])
        for selected in (every, one):
            eventually(lambda selected=selected: _empty_tables(cold_stack, selected) - NOT_HERE, set(), timeout_s=150)


def _meet_errors_and_limits(stack, token):
    """Make calls with the key: answers, errors of the model, and then its limit of 20 calls per minute."""
    prompts = (f"Hello {number}" for number in range(10_000))
    failing = next(prompt for prompt in prompts if compose(MODELS[MODEL], [prompt], cap_tokens=None).fails)
    patient = stack.openai(token, max_retries=5)  # the customer's own calls may have used up this minute's limit
    messages = [{"role": "user", "content": "Hello"}]
    for _ in range(2):  # a rate needs two samples of every series
        patient.chat.completions.create(model=MODEL, messages=messages)
        list(
            patient.chat.completions.create(
                model=MODEL, messages=messages, stream=True, stream_options={"include_usage": True}
            )
        )
        time.sleep(SAMPLES_APART_S)
    client, seen = stack.openai(token), set()
    while 429 not in seen:
        try:
            create = client.chat.completions.create
            list(create(model=MODEL, messages=[{"role": "user", "content": failing}], stream=True))
        except openai.APIStatusError as error:
            seen.add(error.status_code)
    assert 500 in seen


def _expire_soon(stack, key_id):
    """Make the key expire in two days, which triggers an alert."""
    body = {"expires_at": (datetime.now(UTC) + timedelta(days=2)).isoformat()}
    headers = {"Authorization": f"Bearer {stack.admin_token}", "Content-Type": "application/json"}
    url = f"{stack.service_url}/v1/keys/{key_id}"
    request = urllib.request.Request(url, json.dumps(body).encode(), headers, method="PATCH")
    with urllib.request.urlopen(request, timeout=60):
        pass


def _backdate_key(stack, key_id):
    """Backdate the key's last use and its secret, and remove a call from the ledger."""
    with psycopg.connect(stack.database_url) as connection:
        connection.execute(
            "UPDATE key SET last_used_at = now() - interval '70 days', rotate_every_days = 30 WHERE id = %s", (key_id,)
        )
        connection.execute("UPDATE key_secret SET created_at = now() - interval '40 days' WHERE key_id = %s", (key_id,))
        connection.execute("UPDATE spool_hour SET requests = requests - 1")


def _empty_charts(prometheus, selected):
    """Return the panels without data or without numbers."""
    empty = set()
    for _, view, target in _targets(Prometheus):
        query = grafana.promql(
            target.expression, {**selected, "owner": selected["account"]}, interval="10s", span=f"{SPAN_S}s"
        )
        series = prometheus.query(query) if target.instant else prometheus.query_range(query, span_s=SPAN_S)
        numbers = [float(number) for one in series for _, number in one["values"]]
        if all(map(math.isnan, numbers)):  # a quantile of no calls is not a number
            empty.add(view.title)
    return empty


def _may_be_empty():
    """Return the panels declared as possibly empty; they had data without a selection."""
    return {view.title for page in pages(Thresholds()) for view in page.views() if view.empty_is_fine}


def _empty_tables(stack, selected):
    """Return the ledger's panels, annotations and variables without data, queried as Grafana's role."""
    values = {
        **selected,
        "owner": selected["account"],
        "address": "",
        "trace": "",
        "before": "",
        "status": ["2xx", "4xx", "429", "5xx"],
    }
    with psycopg.connect(stack.database_url) as connection:
        connection.execute("SET ROLE keygauge_grafana")
        connection.execute("SET search_path = grafana")
        for variable in pages(Thresholds())[0].variables:
            if variable.get("datasource") == POSTGRESQL:
                rows = connection.execute(_as_sent(variable["query"], values)).fetchall()
                values[variable["name"]] = grafana.options([name for (name,) in rows], variable["regex"], values)
        queries = [(f"{page.uid}: {view.title}", target.query) for page, view, target in _targets(Sql)]
        marks = [mark for mark in pages(Thresholds())[0].annotations if "rawSql" in mark["target"]]
        queries += [(mark["name"], mark["target"]["rawSql"]) for mark in marks]
        return {name for name, query in queries if not _has_rows(connection, _as_sent(query, values))}


def _has_rows(connection, query):
    return any(value is not None for row in connection.execute(query).fetchall() for value in row)


def _as_sent(query, values):
    now = datetime.now(UTC)
    return grafana.sql(query, values, since=now - timedelta(days=1), until=now)


def _targets(kind):
    for page in pages(Thresholds()):
        for view in page.views():
            yield from ((page, view, target) for target in view.targets if isinstance(target, kind))
