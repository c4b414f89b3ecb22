"""A real collector with the committed configurations: it outputs exactly the totals that are pushed."""

import json
import re
import shutil
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from ports import free_port
from watchers import Server, find_program

from keygauge import metrics
from keygauge.call import Call
from keygauge.metrics import COST, KEY, REQUESTS, STATUS, TOKEN_TYPE, TOKENS, label
from keygauge.telemetry.aggregator import Aggregator
from keygauge.telemetry.instruments import instrument
from keygauge_dashboards import collector_metrics
from keygauge_dashboards.promql.queries import ENV

ROOT = Path(__file__).parents[3]
BACKENDS = {  # how to get one, and its options
    "prometheus": (
        "apt-get install prometheus",
        (
            "--config.file=prometheus.yaml",
            "--storage.tsdb.path=data",
            "--web.enable-remote-write-receiver",
            "--web.listen-address={address}",
        ),
    ),
    "victoria-metrics": (
        "https://docs.victoriametrics.com",
        ("-storageDataPath=data", "-httpListenAddr={address}", "-search.latencyOffset=0s"),
    ),
}
PRICE_NANOUSD = 1_250_000  # per call
UNPRICED = "own-model"  # calls of this model have no price
SUFFIXES = {"counter": "", "updowncounter": "", "gauge": "", "histogram": "_count"}


class Service:
    """A metered service: the middleware's aggregator and instruments, with explicit pushes."""

    def __init__(self, url):
        exporter = OTLPMetricExporter(endpoint=f"{url}/v1/metrics", timeout=2)
        self._reader = PeriodicExportingMetricReader(exporter, export_interval_millis=float("inf"))
        resource = Resource.create(
            {"service.name": "api", "service.instance.id": "i1", "deployment.environment.name": "live"}
        )
        self._provider = MeterProvider(metric_readers=[self._reader], resource=resource)
        self._aggregator = Aggregator()
        self._aggregator.charge = self._charge
        gauges = {metric: lambda: 1.0 for metric in metrics.ALL if metric.kind == "gauge"}
        instrument(self._provider.get_meter("keygauge"), self._aggregator, gauges=gauges)
        self._aggregator.dropped("full", 1)
        self._aggregator.tag_dropped("too_long")
        self._aggregator.fault("test")

    def answer(self, count, *, key, status=200, model="gpt", input_tokens=7):
        for number in range(count):
            call = Call(method="POST", ip=None, time_ns=0, started_ns=1)
            call.key, call.route, call.model, call.provider = key, "/v1/chat", model, "openai"
            call.status, call.first_byte_ns = status, 1_000_000
            call.error = None if status == 200 else "limited"
            call.stream, call.messages, call.missing = "sse", 3, "cut"
            call.request_bytes, call.response_bytes = 10, 20
            call.record_usage(input_tokens=input_tokens, output_tokens=2, cache_read_tokens=1)
            call.ended_ns = 2_000_000 + number
            self._aggregator.started(call)
            self._aggregator.record(call)

    def _charge(self, cell, call, _usage):
        if call.model == UNPRICED:
            self._aggregator.add_unpriced(cell)
        else:
            self._aggregator.add_cost(cell, PRICE_NANOUSD)

    def push(self):
        self._aggregator.drain()
        self._reader.collect()

    def close(self):
        self._provider.shutdown()


@pytest.fixture
def service():
    """`service(url)` creates a metered service that pushes to a URL."""
    made = []

    def make(url):
        made.append(Service(url))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def refusing_backend():
    """The URL of a backend that always refuses data."""

    class Refusal(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_error(400)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Refusal) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_totals_on_the_metrics_page_are_exact(collector, service):
    page = collector("config.yaml")
    api = service(page.otlp_url)
    api.answer(40, key="k1")
    api.answer(2, key="k1", status=429, input_tokens=0)
    api.answer(5, key="k2", input_tokens=100)
    api.push()
    assert page.total(REQUESTS) == 47
    assert page.total(REQUESTS, **{label(KEY): "k1", label(STATUS): "429"}) == 2
    assert page.total(TOKENS, **{label(TOKEN_TYPE): "input"}) == 40 * 7 + 5 * 100
    assert page.total(COST) == pytest.approx(47 * PRICE_NANOUSD / 1e9, abs=1e-12)
    page.kill()
    page.start()
    api.answer(3, key="k2")
    api.push()
    assert page.total(REQUESTS) == 50  # pushes have totals, so the page needs no state of its own


def test_every_metric_has_the_name_and_labels_used_by_dashboards(collector, service):
    page = collector("config.yaml")
    scrapes = yaml.safe_load((ROOT / "collector/prometheus.yaml").read_text())["scrape_configs"]
    [dropped] = [rule["regex"] for job in scrapes for rule in job.get("metric_relabel_configs", [])]
    api = service(page.otlp_url)
    api.answer(3, key="k1", status=500)
    api.answer(1, key="k1", model=UNPRICED)
    api.push()
    for metric in metrics.ALL:
        if metric is metrics.SERIES_FOLDED:  # nothing is folded in this test
            continue
        samples = page.samples(metric, SUFFIXES[metric.kind])
        assert samples, metric.name
        asked = {label(name) for name in metric.attributes} | {"job", "instance", ENV}
        for sample in samples:
            kept = {name for name in sample.labels if not re.fullmatch(dropped, name)}
            assert kept <= asked, metric.name
            assert [sample.labels[name] for name in ("job", "instance", ENV)] == ["api", "i1", "live"]


def test_collector_reports_losses_under_the_names_used_by_alerts(
    collector, service, refusing_backend, tmp_path, eventually
):
    middle = collector(
        "forward.yaml", KEYGAUGE_FORWARD_URL=refusing_backend, KEYGAUGE_COLLECTOR_STATE=str(tmp_path / "queue")
    )
    api = service(middle.otlp_url)
    api.answer(1, key="k1")
    api.push()
    wanted = {collector_metrics.REFUSED.prometheus_name, collector_metrics.SEND_FAILED.prometheus_name}
    eventually(lambda: wanted & middle.own_metrics(), wanted)


def test_the_queue_survives_an_outage_of_the_backend_and_a_kill_of_the_collector(
    collector, service, tmp_path, eventually
):
    backend = collector("config.yaml")
    middle = collector(
        "forward.yaml", KEYGAUGE_FORWARD_URL=backend.otlp_url, KEYGAUGE_COLLECTOR_STATE=str(tmp_path / "queue")
    )
    api = service(middle.otlp_url)
    backend.kill()
    api.answer(11, key="k1")
    api.push()
    middle.kill()
    middle.start()
    backend.start()
    eventually(lambda: backend.total(REQUESTS), 11, timeout_s=150)


@pytest.mark.parametrize("kind", list(BACKENDS))
def test_remote_write_survives_an_outage_of_the_backend_and_a_kill_of_the_collector(
    kind, backend, collector, service, tmp_path, eventually
):
    database = backend(kind)
    middle = collector(
        "remote-write.yaml",
        KEYGAUGE_REMOTE_WRITE_URL=f"{database.url}/api/v1/write",
        KEYGAUGE_COLLECTOR_STATE=str(tmp_path / "queue"),
    )
    api = service(middle.otlp_url)
    api.answer(11, key="k1")
    api.push()
    eventually(lambda: written_bytes(tmp_path / "queue") > 0, expected=True)  # it answers shortly before it writes
    middle.kill()
    middle.start()
    database.start()
    eventually(database.totals, {"11"}, timeout_s=150)
    database.kill()
    api.answer(3, key="k1")
    api.push()
    database.start()
    eventually(database.totals, {"14"}, timeout_s=150)
    [series] = database.query(REQUESTS.prometheus_name)
    assert [series["metric"][name] for name in ("job", "instance", ENV, label(KEY))] == ["api", "i1", "live", "k1"]


def written_bytes(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


class Backend:
    """A metrics database that accepts remote writes, and keeps its data while it is stopped."""

    def __init__(self, kind, folder, port):
        self.url = f"http://127.0.0.1:{port}"
        program = find_program(kind, BACKENDS[kind][0]) if kind == "prometheus" else shutil.which(kind)
        if program is None:
            pytest.skip(f"no {kind} on this machine: {BACKENDS[kind][0]}")
        (folder / "prometheus.yaml").write_text("global: {}\n")
        self._command = [program, *(option.format(address=f"127.0.0.1:{port}") for option in BACKENDS[kind][1])]
        self._server = Server(kind, folder, f"{self.url}/-/ready")
        self.kill = self._server.kill

    def start(self):
        self._server.start(self._command)

    def query(self, query):
        with urllib.request.urlopen(f"{self.url}/api/v1/query?query={query}", timeout=60) as answer:
            return json.load(answer)["data"]["result"]

    def totals(self):
        return {one["value"][1] for one in self.query(f"sum({REQUESTS.prometheus_name})")}


@pytest.fixture
def backend(tmp_path):
    """`backend(kind)` creates a metrics database that is not running yet."""
    made = []

    def make(kind):
        made.append(Backend(kind, tmp_path, free_port()))
        return made[-1]

    yield make
    for one in made:
        one.kill()
