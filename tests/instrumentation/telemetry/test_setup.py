"""The destinations of metrics: OTLP to a receiver, the page to Prometheus, or the host's provider."""

import gzip
import json
import os
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import urlopen

import httpx
import polling
import pytest
import yaml
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_CUMULATIVE, AGGREGATION_TEMPORALITY_DELTA
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import set_span_in_context
from ports import free_port
from programs import PROGRAMS
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from keygauge import metrics
from keygauge.call import Call
from keygauge.telemetry import prometheus, setup
from keygauge.telemetry.aggregator import HOST_SERIES, SERIES, Aggregator
from keygauge.telemetry.instruments import instrument
from keygauge.telemetry.setup import TelemetryError, configure, max_series, prometheus_app, prometheus_text
from keygauge.usage import Usage

ROOT = Path(__file__).parents[3]
SECOND_NS = 1_000_000_000
EXPORTED = [metric for metric in metrics.ALL if metric is not metrics.COST]  # no call carries a cost yet
GAUGES = dict.fromkeys((metrics.BEAT_AGE, metrics.SPOOL_EVENTS, metrics.SPOOL_AGE), lambda: 1)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("OTEL_", "KEYGAUGE_")):
            monkeypatch.delenv(name)
    monkeypatch.setattr(setup._Page, "registry", None)


class Receiver(BaseHTTPRequestHandler):
    """An OTLP receiver that keeps its requests."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        request = ExportMetricsServiceRequest.FromString(body)
        self.server.received.append((self.path, self.headers["Content-Type"], request))
        self.server.headers.append(dict(self.headers))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_arguments):
        pass


class Page(BaseHTTPRequestHandler):
    """A server of the metrics page, as a WSGI app would serve it."""

    def do_GET(self):
        body, content_type = prometheus_text(self.headers.get("Accept", ""))
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments):
        pass


@pytest.fixture
def serve():
    servers = []

    def start(handler):
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.received, server.headers = [], []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def start():
    """Return a function that sets up telemetry as a worker does and returns (aggregator, provider)."""
    providers = []

    def run():
        provider = configure()
        providers.append(provider)
        aggregator = Aggregator(max_keys=10_000, max_series=max_series(provider))
        instrument(provider.get_meter("keygauge"), aggregator, gauges=GAUGES)
        return aggregator, provider

    yield run
    for provider in providers:
        provider.shutdown()


def make_call(**fields):
    call = Call(method="POST", ip=None, time_ns=0, started_ns=SECOND_NS)
    fields = {"key": "k1", "route": "/v1/chat", "status": 200, "ended_ns": 2 * SECOND_NS} | fields
    for name, value in fields.items():
        setattr(call, name, value)
    return call


def record_everything(aggregator, **fields):
    times = {"first_byte_ns": SECOND_NS + 1000, "stream": "sse", "messages": 3}
    labels = {"model": "m1", "requested_model": "r1", "provider": "p1", "error": "E", "limit": "rpm", "missing": "x"}
    sizes = {"request_bytes": 10, "response_bytes": 20, "usage": Usage(100, 11, 60, 7, 5)}
    call = make_call(**times, **labels, **sizes, **fields)
    aggregator.started(call)
    aggregator.record(call)
    aggregator.add_unpriced(next(iter(aggregator.cells())))
    aggregator.record(make_call(key="k2", status=700))
    aggregator.fault("x")
    aggregator.dropped("spool_full", 1)
    aggregator.tag_dropped("too_long")


def read_otlp(request):
    """Return {metric name: metric} and the resource's attributes."""
    (resource,) = request.resource_metrics
    (scope,) = resource.scope_metrics
    attributes = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
    return {metric.name: metric for metric in scope.metrics}, attributes


def samples(text, read=parse):
    return [sample for family in read(text) for sample in family.samples]


def test_nothing_is_set_up_by_default():
    assert configure() is None
    assert max_series(None) == HOST_SERIES
    with pytest.raises(TelemetryError, match="KEYGAUGE_PROMETHEUS"):
        prometheus_text()


@pytest.mark.parametrize("variable", ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"])
def test_metrics_are_pushed_as_otlp(serve, start, monkeypatch, variable):
    server = serve(Receiver)
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv(variable, f"{address}/v1/metrics" if "METRICS" in variable else address)
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=shared-by-all-workers,team=a%20b")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")
    aggregator, provider = start()
    with TracerProvider(shutdown_on_exit=False).get_tracer("test").start_as_current_span("request") as span:
        record_everything(aggregator, context=set_span_in_context(span))
    provider.force_flush()

    path, content_type, request = server.received[-1]
    assert (path, content_type) == ("/v1/metrics", "application/x-protobuf")
    found, resource = read_otlp(request)
    assert set(found) == {metric.name for metric in EXPORTED}
    assert (resource["service.name"], resource["team"]) == ("shop", "a b")
    assert resource["service.instance.id"] != "shared-by-all-workers"
    for metric in found.values():
        kind = metric.WhichOneof("data")
        if kind != "gauge":
            assert getattr(metric, kind).aggregation_temporality == AGGREGATION_TEMPORALITY_CUMULATIVE
    points = found[metrics.REQUESTS.name].sum.data_points
    assert sum(point.as_int for point in points) == 2
    traces = [
        exemplar.trace_id
        for point in found[metrics.DURATION.name].histogram.data_points
        for exemplar in point.exemplars
    ]
    assert traces == [span.get_span_context().trace_id.to_bytes(16, "big")]


@pytest.mark.parametrize(
    ("preference", "of_counters", "of_histograms"),
    [
        ("cumulative", AGGREGATION_TEMPORALITY_CUMULATIVE, AGGREGATION_TEMPORALITY_CUMULATIVE),
        ("delta", AGGREGATION_TEMPORALITY_DELTA, AGGREGATION_TEMPORALITY_DELTA),
        ("lowmemory", AGGREGATION_TEMPORALITY_CUMULATIVE, AGGREGATION_TEMPORALITY_DELTA),
    ],
)
def test_temporality_preference_is_respected(serve, start, monkeypatch, preference, of_counters, of_histograms):
    server = serve(Receiver)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", preference)
    aggregator, provider = start()
    counts = []
    for calls in (3, 2):
        for _ in range(calls):
            aggregator.record(make_call())
        provider.force_flush()
        found, _resource = read_otlp(server.received[-1][2])
        requests, durations = found[metrics.REQUESTS.name].sum, found[metrics.DURATION.name].histogram
        assert requests.aggregation_temporality == of_counters
        assert durations.aggregation_temporality == of_histograms
        counts.append((requests.data_points[0].as_int, durations.data_points[0].count))
    second = [2 if kind == AGGREGATION_TEMPORALITY_DELTA else 5 for kind in (of_counters, of_histograms)]
    assert counts == [(3, 3), tuple(second)]


@pytest.mark.parametrize(
    ("aggregation", "kind"),
    [
        ("base2_exponential_bucket_histogram", "exponential_histogram"),
        ("explicit_bucket_histogram", "histogram"),
        ("unknown", "histogram"),
    ],
)
def test_histogram_aggregation_is_respected(serve, start, monkeypatch, aggregation, kind):
    server = serve(Receiver)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", aggregation)
    aggregator, provider = start()
    record_everything(aggregator)
    provider.force_flush()
    found, _resource = read_otlp(server.received[-1][2])
    for metric in EXPORTED:
        if metric.kind == "histogram":
            assert found[metric.name].WhichOneof("data") == kind
            (point,) = getattr(found[metric.name], kind).data_points[:1]
            assert tuple(getattr(point, "explicit_bounds", metric.buckets)) == metric.buckets


def test_headers_and_interval_come_from_the_environment(serve, start, monkeypatch):
    server = serve(Receiver)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=shop,authorization=Basic%20abc")
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "50")
    start()
    polling.until(lambda: len(server.headers) >= 2)  # without a flush
    told = {name.lower(): value for name, value in server.headers[0].items()}
    assert (told["x-tenant"], told["authorization"]) == ("shop", "Basic abc")


def test_console_exporter_prints_metrics():
    program = """
from keygauge.telemetry.aggregator import Aggregator
from keygauge.telemetry.instruments import instrument
from keygauge.telemetry.setup import configure
provider = configure()
instrument(provider.get_meter("keygauge"), Aggregator(), gauges={})
provider.shutdown()
"""
    printed = json.loads(run_python(program, OTEL_METRICS_EXPORTER="console", KEYGAUGE_PROMETHEUS=""))
    (scope,) = printed["resource_metrics"][0]["scope_metrics"]
    assert scope["scope"]["name"] == "keygauge"
    assert metrics.ACTIVE.name in {metric["name"] for metric in scope["metrics"]}


@pytest.mark.parametrize("variable", ["OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL"])
@pytest.mark.parametrize(
    ("protocol", "told"),
    [
        ("grpc", "install opentelemetry-exporter-otlp-proto-grpc"),
        ("http/json", "OTEL_EXPORTER_OTLP_PROTOCOL is 'http/json': use http/protobuf or grpc"),
    ],
)
def test_unavailable_protocol_error_says_how_to_fix_it(monkeypatch, variable, protocol, told):
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "otlp")
    monkeypatch.setenv(variable, protocol)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.grpc.metric_exporter", None)
    with pytest.raises(TelemetryError, match=told):
        configure()


def test_unknown_exporter_is_ignored_with_a_warning(monkeypatch, caplog):
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "statsd")
    assert configure() is None
    assert "'statsd', which is ignored: use otlp, prometheus, console, none" in caplog.text


def test_5000_keys_keep_their_series_in_otlp(serve, start, monkeypatch):
    server = serve(Receiver)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    aggregator, provider = start()
    for number in range(5000):
        aggregator.record(make_call(key=f"k{number}"))
    provider.force_flush()
    found, _resource = read_otlp(server.received[-1][2])
    points = found[metrics.REQUESTS.name].sum.data_points
    assert len(points) == 5000
    assert sum(point.as_int for point in points) == 5000
    assert aggregator.folded() == {}
    assert b"otel.metric.overflow" not in server.received[-1][2].SerializeToString()


def test_each_setup_has_its_own_instance_id(start, monkeypatch):
    monkeypatch.setenv("KEYGAUGE_PROMETHEUS", "1")
    seen = set()
    for _worker in range(2):
        start()
        (info,) = [sample for sample in samples(prometheus_text()[0].decode()) if sample.name == "target_info"]
        seen.add(info.labels["service_instance_id"])
    assert len(seen) == 2


def test_names_and_labels_on_the_page_match_the_registry(start, monkeypatch):
    monkeypatch.setenv("KEYGAUGE_PROMETHEUS", "1")
    aggregator, _provider = start()
    record_everything(aggregator)
    seen = {}
    for sample in samples(prometheus_text()[0].decode()):
        seen.setdefault(sample.name, set()).update(sample.labels)
    for metric in EXPORTED:
        suffix = "_bucket" if metric.kind == "histogram" else ""
        expected = {metrics.label(attribute) for attribute in metric.attributes}
        assert seen[metric.prometheus_name + suffix] - {"le"} == expected, metric.name
    ours = {metric.prometheus_name for metric in metrics.ALL}
    told = {name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count") for name in seen}
    assert told - {"target_info"} <= ours


def test_5000_keys_keep_their_series_on_the_page(start, monkeypatch):
    monkeypatch.setenv("KEYGAUGE_PROMETHEUS", "1")
    aggregator, provider = start()
    assert max_series(provider) == SERIES
    for number in range(5000):
        aggregator.record(make_call(key=f"k{number}"))
    found = [s for s in samples(prometheus_text()[0].decode()) if s.name == metrics.REQUESTS.prometheus_name]
    assert (len(found), sum(sample.value for sample in found)) == (5000, 5000)


async def test_page_is_served_as_asgi(start, monkeypatch):
    monkeypatch.setenv("KEYGAUGE_PROMETHEUS", "1")
    aggregator, _provider = start()
    record_everything(aggregator)
    transport = httpx.ASGITransport(prometheus_app())
    async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
        plain = await client.get("/metrics", headers={"accept-encoding": "identity"})
        packed = await client.get("/metrics")
        modern = await client.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
        empty = await client.head("/metrics")
    assert plain.status_code == 200
    assert plain.headers["content-type"].startswith("text/plain")
    assert packed.headers["content-encoding"] == "gzip"
    assert samples(packed.text) == samples(plain.text)
    assert metrics.REQUESTS.prometheus_name in {sample.name for sample in samples(modern.text, parse_openmetrics)}
    assert (empty.content, empty.headers["content-length"]) == (b"", packed.headers["content-length"])


async def test_page_without_metrics_says_so():
    app = prometheus_app()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app") as client:
        answer = await client.get("/metrics")
    assert answer.status_code == 503
    assert "KEYGAUGE_PROMETHEUS=1" in answer.text


@pytest.fixture
def run_prometheus(tmp_path):
    """Return `run(program, configuration, *options)`, which starts Prometheus for the test and returns its port."""
    processes = []

    def run(program, configuration, *options):
        (tmp_path / "prometheus.yml").write_text(json.dumps(configuration))  # JSON is YAML
        port = free_port()
        command = [program, f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data"]
        command += [f"--web.listen-address=127.0.0.1:{port}", *options]
        processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        return port

    yield run
    for process in processes:
        process.terminate()
        process.wait(100)


@pytest.mark.parametrize("find", PROGRAMS.values(), ids=PROGRAMS)
def test_prometheus_scrapes_the_page_and_sees_first_calls(serve, start, run_prometheus, monkeypatch, find):
    program = find("prometheus")
    monkeypatch.setenv("KEYGAUGE_PROMETHEUS", "1")
    aggregator, _provider = start()
    record_everything(aggregator)
    jobs = [{"job_name": "api", "static_configs": [{"targets": [f"127.0.0.1:{serve(Page).server_port}"]}]}]
    port = run_prometheus(program, {"global": {"scrape_interval": "1s"}, "scrape_configs": jobs})
    assert query(port, f"sum({metrics.REQUESTS.prometheus_name})") == 2
    assert query(port, f"sum({metrics.TOKENS.prometheus_name})") == 111
    assert query(port, f"sum({metrics.DURATION.prometheus_name}_count)") == 2
    for metric in EXPORTED:
        suffix = "_bucket" if metric.kind == "histogram" else ""
        assert query(port, f"count({metric.prometheus_name}{suffix})") > 0, metric.name
    for _ in range(50):
        aggregator.record(make_call(key="new"))
    of_new = f'{metrics.REQUESTS.prometheus_name}{{{metrics.label(metrics.KEY)}="new"}}'
    assert query(port, f"increase({of_new}[1m]) >= 50") >= 50


def test_prometheus_3_accepts_otlp_without_a_collector(run_prometheus, start, monkeypatch):
    program = PROGRAMS["3"]("prometheus")
    configuration = yaml.safe_load((ROOT / "collector/prometheus-otlp.yaml").read_text())
    port = run_prometheus(program, configuration, "--web.enable-otlp-receiver")
    query(port, "vector(1)")  # until it answers
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", f"http://127.0.0.1:{port}/api/v1/otlp/v1/metrics")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=prod")
    aggregator, provider = start()
    record_everything(aggregator)
    provider.force_flush()
    where = '{job="shop", deployment_environment_name="prod"}'
    for metric in EXPORTED:
        suffix = "_bucket" if metric.kind == "histogram" else ""
        assert query(port, f"count({metric.prometheus_name}{suffix}{where})") > 0, metric.name
    of_key = f'{metrics.label(metrics.KEY)}="k1", {metrics.label(metrics.MODEL)}="m1"'
    assert query(port, f"sum({metrics.TOKENS.prometheus_name}{{{of_key}}})") == 111


def query(port, expression):
    """Query until there is a result: the first scrape takes a second or two."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            with urlopen(f"http://127.0.0.1:{port}/api/v1/query?{urlencode({'query': expression})}") as answer:
                result = json.load(answer)["data"]["result"]
        except OSError:
            result = []
        if result:
            return float(result[0]["value"][1])
        time.sleep(0.1)
    raise AssertionError(f"Prometheus never answered {expression}")


def run_python(program, **environ):
    environment = {"PATH": os.environ["PATH"], "KEYGAUGE_PROMETHEUS": "1", **environ}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_host_provider_is_used():
    program = """
from opentelemetry.metrics import set_meter_provider
from opentelemetry.sdk.metrics import MeterProvider
from keygauge.telemetry.setup import configure, max_series
hosts = MeterProvider()
set_meter_provider(hosts)
print(configure() is hosts, max_series(configure()))
"""
    assert run_python(program) == f"True {HOST_SERIES}"


def test_child_does_not_serve_the_parents_page():
    program = """
import os
from keygauge.telemetry.setup import TelemetryError, configure, prometheus_text
configure()
prometheus_text()
child = os.fork()
if child == 0:
    try:
        prometheus_text()
    except TelemetryError:
        os._exit(0)
    os._exit(1)
print(os.waitpid(child, 0)[1])
"""
    assert run_python(program) == "0"


def test_child_does_not_push_the_parents_counts(serve):
    server = serve(Receiver)
    program = f"""
import os
os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://127.0.0.1:{server.server_port}"
os.environ["OTEL_METRIC_EXPORT_INTERVAL"] = "200"
from keygauge.telemetry.aggregator import Aggregator
from keygauge.call import Call
from keygauge.telemetry.instruments import instrument
from keygauge.telemetry.setup import configure

def work(count):
    provider = configure()
    aggregator = Aggregator()
    instrument(provider.get_meter("keygauge"), aggregator, gauges={{}})
    for _ in range(count):
        aggregator.record(Call(method="GET", ip=None, time_ns=0, started_ns=0))
    provider.force_flush()

work(5)
child = os.fork()
if child == 0:
    import time
    work(2)
    time.sleep(0.5)  # the inherited reader's interval passes twice
    os._exit(0)
os.waitpid(child, 0)
"""
    run_python(program)
    last = {}
    for _path, _type, request in server.received:
        found, resource = read_otlp(request)
        last[resource["service.instance.id"]] = found
    counts = [sum(p.as_int for p in found[metrics.REQUESTS.name].sum.data_points) for found in last.values()]
    observed = [sum(p.count for p in found[metrics.DURATION.name].histogram.data_points) for found in last.values()]
    assert sorted(counts) == sorted(observed) == [2, 5]


def test_missing_distribution_error_says_how_to_install_it():
    program = """
import sys
sys.modules["opentelemetry.exporter.prometheus"] = None
from keygauge.telemetry.setup import TelemetryError, configure
try:
    configure()
except TelemetryError as error:
    print(error)
"""
    assert run_python(program).endswith("install keygauge[prometheus]")


@pytest.mark.parametrize("ports", ["9100", "b-c", "200-100", "1-70000", "0-5", "127.0.0.1:1-", "1-5000"])
def test_invalid_ports_are_logged_without_an_exception(caplog, ports):
    assert prometheus.serve(ports, CollectorRegistry()) is None
    assert "use [host:]first-last" in caplog.text


def test_occupied_port_range_is_logged(caplog):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        first = taken.getsockname()[1]
        assert prometheus.serve(f"{first}-{first}", CollectorRegistry()) is None
        assert "is free" in caplog.text


@pytest.mark.parametrize(
    ("chosen", "found"),
    [
        ({}, ["otlp"]),
        ({"OTEL_METRICS_EXPORTER": "otlp"}, ["otlp"]),
        ({"OTEL_METRICS_EXPORTER": "prometheus"}, ["prometheus"]),
        ({"OTEL_METRICS_EXPORTER": "otlp, prometheus"}, ["otlp", "prometheus"]),
        ({"OTEL_METRICS_EXPORTER": "OTLP,Prometheus"}, ["otlp", "prometheus"]),
        ({"OTEL_METRICS_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": ""}, ["otlp"]),
        ({"OTEL_METRICS_EXPORTER": "console,otlp"}, ["otlp", "console"]),
        ({"OTEL_METRICS_EXPORTER": "console", "OTEL_SDK_DISABLED": "TRUE"}, []),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, ["otlp"]),
        ({"OTEL_METRICS_EXPORTER": "none"}, []),
        ({"OTEL_METRICS_EXPORTER": "none", "KEYGAUGE_PROMETHEUS": "1"}, ["prometheus"]),
        ({"OTEL_SDK_DISABLED": "true", "KEYGAUGE_PROMETHEUS": "1"}, []),
    ],
)
def test_opentelemetry_variables_select_the_exporters(monkeypatch, chosen, found):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    assert setup.check() == found
