"""Panels and rules read native histograms: a service pushes them into a real Prometheus 3."""

import json
import subprocess
import time
from urllib.parse import urlencode
from urllib.request import urlopen

import polling
import pytest
from grafana import All, promql
from ports import free_port
from programs import find_of_3

from keygauge import metrics
from keygauge.call import Call
from keygauge.telemetry.aggregator import Aggregator
from keygauge.telemetry.instruments import instrument
from keygauge.telemetry.setup import configure
from keygauge.usage import Usage
from keygauge_dashboards.alerts.services import records
from keygauge_dashboards.dashboards.suite import pages
from keygauge_dashboards.grafana.panels import Prometheus
from keygauge_dashboards.thresholds import Thresholds

EVERY = dict.fromkeys(("env", "job", "endpoint", "model"), All(custom=".*"))
HISTOGRAMS = [metric for metric in metrics.ALL if metric.kind == "histogram"]
QUERIES = [
    pytest.param(target.expression, id=f"{page.uid}: {view.title}")
    for page in pages(Thresholds())
    for view in page.views()
    for target in view.targets
    if isinstance(target, Prometheus) and any(f"{one.prometheus_name}{{" in target.expression for one in HISTOGRAMS)
]


@pytest.fixture(scope="module")
def environment():
    """Return a patch of the environment for the whole module."""
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def query(environment, tmp_path_factory, request):
    """Run Prometheus 3 with what a service pushed in two seconds; return a function that queries it."""
    program, folder = find_of_3("prometheus"), tmp_path_factory.mktemp("prometheus")
    settings = request.config.rootpath / "collector/prometheus-otlp.yaml"
    port = free_port()
    command = [program, f"--config.file={settings}", "--storage.tsdb.path=data", "--web.enable-otlp-receiver"]
    command.append(f"--web.listen-address=127.0.0.1:{port}")
    server = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        polling.until(lambda: _is_ready(port))
        environment.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", f"http://127.0.0.1:{port}/api/v1/otlp/v1/metrics")
        _push(environment)
        yield lambda expression: _ask(port, expression)
    finally:
        server.terminate()
        server.wait(100)


def _is_ready(port):
    try:
        with urlopen(f"http://127.0.0.1:{port}/-/ready"):
            return True
    except OSError:
        return False


def _push(environment):
    """Push twice, with calls of 1 s and 20 s of which one in four fails."""
    environment.setenv("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "base2_exponential_bucket_histogram")
    environment.setenv("OTEL_SERVICE_NAME", "api")
    environment.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=live")
    provider, aggregator = configure(), Aggregator()
    try:
        instrument(provider.get_meter("keygauge"), aggregator, gauges={})
        for _push in range(2):
            for status, seconds in ((200, 1), (200, 1), (200, 20), (500, 1)):
                aggregator.record(_call(status, seconds * 10**9))
            provider.force_flush()
            time.sleep(1.1)  # Prometheus keeps one sample of a series per millisecond, and measures rates in seconds
    finally:
        provider.shutdown()


def _call(status, duration_ns):
    call = Call(method="POST", ip=None, time_ns=0, started_ns=10**9)
    call.key, call.route, call.model, call.status = "k1", "/v1/chat", "m1", status
    call.stream, call.provider, call.first_byte_ns = "sse", "p1", 10**9 + duration_ns // 2
    call.ended_ns, call.usage = 10**9 + duration_ns, Usage(100, 11)
    return call


def _ask(port, expression):
    with urlopen(f"http://127.0.0.1:{port}/api/v1/query?{urlencode({'query': expression})}") as answer:
        found = json.load(answer)
    assert "warnings" not in found, found["warnings"]
    return found["data"]["result"]


def test_durations_have_no_buckets(query):
    for metric in HISTOGRAMS:
        assert query(metric.prometheus_name), metric.name
        assert not query(f"{metric.prometheus_name}_bucket"), metric.name


@pytest.mark.parametrize("expression", QUERIES)
def test_panel_shows_native_histograms(query, expression):
    (one,) = query(promql(expression, EVERY, interval="5m"))
    assert float(one["value"][1]) > 0 if "value" in one else one["histogram"][1]["buckets"]


@pytest.mark.parametrize(("what", "share"), [("failed", 0.25), ("slow", 0.25)])
def test_objectives_are_measured(query, what, share):
    (record,) = (one for one in records(Thresholds()) if f"_{what}:" in one.name and one.name.endswith("rate5m"))
    (one,) = query(record.expression)
    assert one["metric"] == {"job": "api", "deployment_environment_name": "live"}
    assert float(one["value"][1]) == pytest.approx(share, abs=0.001)
