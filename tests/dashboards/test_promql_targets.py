"""Every PromQL query of every dashboard runs on a real Prometheus, with series built from the metric registry."""

import itertools
import json
import math
import re
import subprocess
import time
import urllib.parse
import urllib.request

import pytest
from grafana import All, Click, follow, promql
from ports import free_port

from keygauge import metrics, service_metrics
from keygauge.metrics import label
from keygauge_dashboards import collector_metrics
from keygauge_dashboards.alerts.alert import SOURCE
from keygauge_dashboards.alerts.prometheus import records
from keygauge_dashboards.dashboards.suite import pages
from keygauge_dashboards.grafana.panels import Prometheus
from keygauge_dashboards.grafana.variables import STATUS_CLASSES
from keygauge_dashboards.promql.queries import ALERTS, ENV, JOB, SINCE, UP
from keygauge_dashboards.thresholds import Thresholds
from keygauge_dashboards.uids import ERRORS_PAGE, HEALTH_PAGE, KEY_PAGE, LIMITS_PAGE, MODELS_PAGE

STEP_S = 30
SPAN_S = 3600
SOURCES = ("datasource", "postgresql")
ONE = {
    "env": "live",
    "job": "api",
    "account": "a1",
    "owner": "a1",
    "key": "k1",
    "endpoint": "/v1/chat/completions",
    "model": "gpt-4o-mini",
}
EVERY = dict.fromkeys(ONE, All(custom=".*")) | {
    "account": All(("a1", "a2")),
    "owner": All(("a1", "a2")),
    "key": All(("k1", "k2", "anonymous")),
}
VALUES = {
    metrics.KEY: ("k1", "k2", "anonymous"),
    metrics.ROUTE: ("/v1/chat/completions",),
    metrics.MODEL: ("gpt-4o-mini",),
    metrics.STATUS: ("200", "403", "429", "500"),
    metrics.TOKEN_TYPE: ("input", "output"),
    metrics.OUTCOME: ("admitted", "limited", "revoked"),
    metrics.STATUS_CLASS: ("2xx", "4xx", "5xx"),
}
_LEVELS = {service_metrics.KEY_INFO: (1, 0), service_metrics.LIMIT_USED: (60, 0.3)}  # initial value, growth per step
KEYS = (  # the key service's labels, which must be consistent
    {"id": "k1", "key": "k1", "name": "prod", "account": "a1", "account_name": "Ada"},
    {"id": "k2", "key": "k2", "name": 'the "new"', "account": "a2", "account_name": 'Bob "B" Byte'},
)
GONE = {
    "id": "k3",
    "name": "old",
    "account": "a2",
    "account_name": 'Bob "B" Byte',
    "plan": "x",
    "status": "active",
}  # deleted
GONE_S = 1200


@pytest.fixture(scope="module")
def prometheus(program, tmp_path_factory):
    """Run Prometheus on an hour of synthetic series; return a function that calls its API."""
    folder = tmp_path_factory.mktemp("prometheus")
    now = int(time.time())
    (folder / "samples.txt").write_text("\n".join(_samples(now)) + "\n# EOF\n")
    blocks = [program("promtool"), "tsdb", "create-blocks-from", "openmetrics", "samples.txt", "data"]
    subprocess.run(blocks, cwd=folder, check=True, capture_output=True)
    (folder / "prometheus.yaml").write_text("global: {}\n")
    port = free_port()
    command = [
        program("prometheus"),
        "--config.file=prometheus.yaml",
        "--storage.tsdb.path=data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command, cwd=folder, stderr=log)
    try:
        query_prometheus = _asker(f"http://127.0.0.1:{port}", now)
        _await(server, f"http://127.0.0.1:{port}/-/ready", folder / "log")
        yield query_prometheus
    finally:
        server.terminate()
        server.wait(150)


def _targets():
    for page in pages(Thresholds()):
        for view in page.views():
            for number, target in enumerate(view.targets):
                if isinstance(target, Prometheus):
                    yield pytest.param(target, id=f"{page.uid}: {view.title} {number}")


@pytest.mark.parametrize("variables", [EVERY, ONE], ids=["all", "one"])
@pytest.mark.parametrize("target", list(_targets()))
def test_target_returns_data(prometheus, target, variables):
    series = prometheus(_fill(target.expression, variables), instant=target.instant)
    values = [value for one in series for value in one["values"]]
    assert values
    assert not any(math.isnan(value) for value in values)
    assert any(values), "only zeros: the made-up series have some of everything"
    for one in series:
        names = set(re.findall(r"\{\{(\w+)\}\}", target.legend))
        assert names <= set(one["metric"]), "the legend asks for a label that the answer lacks"


def test_links_select_the_clicked_item(prometheus):
    """The selected value is one that the variable of the other page offers."""
    offered = {
        "key": {"k1", "k2", "anonymous"},
        "account": {"a1", "a2"},
        "endpoint": {ONE["endpoint"]},
        "model": {ONE["model"]},
        "job": {ONE["job"]},
        "status": {*STATUS_CLASSES, *VALUES[metrics.STATUS]},
    }
    known, followed = {page.uid for page in pages(Thresholds())}, set()
    here = EVERY | dict.fromkeys(SOURCES, "x") | {"status": All()}
    for page in pages(Thresholds()):
        for view in page.views():
            for target in view.targets:
                if isinstance(target, Prometheus):
                    for one in prometheus(_fill(target.expression, EVERY), instant=True):
                        for url, click in _clicks(view, target, one["metric"]):
                            uid, selected = follow(url, click, here)
                            assert uid in known
                            for name in set(selected) & set(offered):
                                assert selected[name] == ["$__all"] or set(selected[name]) <= offered[name], view.title
                            followed.add((page.uid, view.title))
    assert len(followed) > 35


def test_pages_and_tickets_are_as_many_as_their_rows(prometheus):
    """An alert on two windows of the same service is one row."""
    views = {view.title: view.targets[0] for view in pages(Thresholds())[0].views()}
    rows = prometheus(_fill(views["Firing alerts"].expression, EVERY), instant=True)
    (count,) = prometheus(_fill(views["Pages and tickets"].expression, EVERY), instant=True)
    assert count["values"] == [len([row for row in rows if row["metric"]["severity"] in {"page", "ticket"}])]


def test_firing_alerts_link_to_the_dashboard_about_their_subject(prometheus):
    view = next(view for view in pages(Thresholds())[0].views() if view.title == "Firing alerts")
    selected = {}
    for one in prometheus(_fill(view.targets[0].expression, EVERY), instant=True):
        assert ("first" in one["metric"]) == (one["metric"]["severity"] == "page")
        url, click = next(_clicks(view, view.targets[0], one["metric"]))
        uid, given = follow(url, click, dict.fromkeys(SOURCES, "x"))
        selected[one["metric"]["alertname"]] = uid, {name: given[name] for name in set(given) - {*SOURCES}}
    assert selected == {
        "KeyRateLimited": (KEY_PAGE, {"key": ["k1"]}),
        "ErrorBudgetBurn": (ERRORS_PAGE, {"env": ["live"]}),  # of a service whose name a URL cannot contain
        "QuotaHigh": (LIMITS_PAGE, {"account": ["a1"], "key": ["k1"]}),
        "ModelUnpriced": (MODELS_PAGE, {"model": ["gpt-4o-mini"]}),
        "KeyServiceDown": (HEALTH_PAGE, {}),  # its job is not a metered service
    }


def _clicks(view, target, labels):
    """Yield each link with its line, bar or cell."""
    name = re.sub(r"\{\{(\w+)\}\}", lambda found: labels[found[1]], target.legend)
    for link in view.defaults.get("links", ()):
        yield link["url"], Click(name, labels=labels)
    aside = {"account_id": labels.get("account", ""), "key_id": labels.get("key", "")}
    row = {"endpoint": labels.get(label(metrics.ROUTE)), **labels, **aside}  # a matrix starts with the endpoint
    for override in view.overrides:
        links = [link for one in override["properties"] if one["id"] == "links" for link in one["value"]]
        for link in links:
            if link["url"].startswith("/d/"):
                cell = labels.get(override["matcher"]["options"].partition("\\")[0], "")
                by_status = Click(labels.get(label(metrics.STATUS), name), cell, labels, row)
                yield link["url"], by_status


def test_key_choices_have_names_and_include_deleted_keys_and_calls_without_a_key(prometheus):
    living = {("k1", "prod"), ("k2", 'the "new"')}
    assert _choices(prometheus, "key", EVERY) == living | {("k3", "old"), ("anonymous", "anonymous")}


def test_key_choices_are_those_of_the_selected_account(prometheus):
    assert _choices(prometheus, "key", ONE) == {("k1", "prod")}


def test_account_choices_have_names(prometheus):
    assert _choices(prometheus, "account", EVERY) == {("a1", "Ada"), ("a2", 'Bob "B" Byte')}


@pytest.mark.parametrize("name", ["env", "job", "endpoint", "model"])
def test_other_variables_have_values(prometheus, name):
    query = _variable(name)["query"]["query"]
    selector, wanted = re.fullmatch(r"label_values\((.+), (\w+)\)", query).groups()
    series = prometheus(_fill(f"count by ({wanted}) ({selector})", EVERY), instant=True)
    assert [one["metric"][wanted] for one in series] == [ONE[name]]


def _samples(now):
    for metric in metrics.ALL:
        attributes = [[(name, value) for value in VALUES.get(name, ("x",))] for name in metric.attributes]
        for labels in itertools.product(*attributes):
            yield from _series(metric, {ENV: "live", JOB: "api", "instance": "i1", **dict(labels)}, now)
    for metric in service_metrics.ALL:
        for values in {tuple(key.get(name, "x") for name in metric.attributes) for key in KEYS}:
            labels = dict(zip(metric.attributes, values, strict=True))
            yield from _series(metric, {JOB: "keyservice", **labels}, now)
    yield from _series(service_metrics.KEY_INFO, {JOB: "keyservice", **GONE}, now - GONE_S)
    for metric in collector_metrics.ALL:
        yield from _series(metric, {JOB: "collector", **dict.fromkeys(metric.attributes, "x")}, now)
    for record in records(Thresholds()):
        yield from _line(record.name, {JOB: "api", ENV: "live", metrics.KEY: "k1"}, now, lambda _: 0.01)
    yield from _line(UP, {JOB: "keyservice", "instance": "i1"}, now, lambda _: 1)
    yield from _line(UP, {JOB: "collector", "instance": "i1"}, now, lambda _: 0)
    source = SOURCE.replace('"', "").split("=")
    for alert in (
        {"alertname": "KeyRateLimited", "severity": "ticket", JOB: "api", "keygauge_key_id": "k1"},
        {"alertname": "ErrorBudgetBurn", "severity": "page", JOB: "R&D #1", ENV: "live", "window": "1h"},
        {"alertname": "ErrorBudgetBurn", "severity": "page", JOB: "R&D #1", ENV: "live", "window": "6h"},
        {"alertname": "QuotaHigh", "severity": "ticket", "account": "a1", "key": "k1", "limit": "tpd"},
        {"alertname": "ModelUnpriced", "severity": "ticket", JOB: "api", label(metrics.MODEL): "gpt-4o-mini"},
        {"alertname": "KeyServiceDown", "severity": "page", JOB: "keyservice"},
    ):
        labels = {**alert, source[0]: source[1]}
        yield from _line(ALERTS, {**labels, "alertstate": "firing"}, now, lambda _: 1)
        yield from _line(SINCE, labels, now, lambda _: now - 600)


def _series(metric, labels, now):
    name = metric.prometheus_name
    if metric.kind == "counter":
        yield from _line(name, labels, now, lambda step: 3 * step)
    elif metric.kind == "histogram":
        for number, bound in enumerate((*metric.buckets, "+Inf"), 1):
            yield from _line(f"{name}_bucket", {**labels, "le": str(bound)}, now, lambda step, n=number: n * step)
        yield from _line(f"{name}_count", labels, now, lambda step: (len(metric.buckets) + 1) * step)
        yield from _line(f"{name}_sum", labels, now, lambda step: 2.5 * step)
    elif metric.name.endswith("timestamp"):
        yield from _line(name, labels, now, lambda _: now + 86_400)
    else:
        level, growth = _LEVELS.get(metric, (100, 0))
        yield from _line(name, labels, now, lambda step: level + growth * step)


def _line(name, labels, now, value):
    quoted = {name: text.replace('"', '\\"') for name, text in labels.items()}
    written = ",".join(f'{label(key)}="{text}"' for key, text in quoted.items())
    for step in range(SPAN_S // STEP_S + 1):
        yield f"{name}{{{written}}} {value(step)} {now - SPAN_S + step * STEP_S}"


def _fill(expression, variables):
    return promql(expression, variables)


def _variable(name):
    page = pages(Thresholds())[0]
    return next(variable for variable in page.variables if variable["name"] == name)


def _choices(prometheus, name, variables):
    """Extract values and texts like Grafana: with a regular expression over lines of text."""
    variable = _variable(name)
    query = re.fullmatch(r"query_result\((.+)\)", variable["query"]["query"])[1]
    pattern = re.compile(variable["regex"].strip("/").replace("(?<", "(?P<"))
    choices = set()
    for one in prometheus(_fill(query, variables), instant=True):
        labels = ",".join(f'{key}="{value}"' for key, value in sorted(one["metric"].items()))
        match = pattern.search(f"{{{labels}}} 1 0")
        choices.add((match["value"], match["text"]))
    return choices


def _asker(url, now):
    def query_prometheus(expression, *, instant):
        span = {"time": now} if instant else {"start": now - 1800, "end": now, "step": 60}
        body = urllib.parse.urlencode({"query": expression, **span}).encode()
        address = f"{url}/api/v1/query{'' if instant else '_range'}"
        with urllib.request.urlopen(address, data=body, timeout=60) as answer:
            result = json.load(answer)["data"]["result"]
        pairs = "value" if instant else "values"
        return [
            {
                "metric": one["metric"],
                "values": [float(value) for _, value in ([one[pairs]] if instant else one[pairs])],
            }
            for one in result
        ]

    return query_prometheus


def _await(server, address, log):
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(address, timeout=20):
                return
        except OSError:
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
