"""Real collectors, Prometheuses and Alertmanagers on loopback, each under its committed configuration."""

import json
import os
import re
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from keygauge_dashboards.files import GENERATED

ROOT = Path(__file__).parents[3]
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
READY_S = 30
UNITS_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def hurry(text):
    """Let each minute of a configuration or rule last a second: windows, offsets, intervals, waits and `for`.

    Thresholds stay as they are, so what counts as bad does not change: only how long one waits to see it.
    """
    duration = r"(\[|offset |for: |_interval: |interval: |group_wait: )(\d+)([smhd])\b"
    return re.sub(duration, lambda found: f"{found[1]}{int(found[2]) * UNITS_MS[found[3]] // 60}ms", text)


def find_program(name, way_out):
    """Find a program, or skip the test; in CI its absence is a failure."""
    path = shutil.which(name)
    if path is None and "CI" in os.environ:
        pytest.fail(f"no {name} on this machine: {way_out}")
    if path is None:
        pytest.skip(f"no {name} on this machine: {way_out}")
    return path


class Server:
    """A program that is started, awaited and ended; its output goes to a file."""

    def __init__(self, name, folder, health_url):
        self.log = folder / f"{name}.log"
        self._folder = folder
        self._health_url = health_url
        self._process = None

    def start(self, command, **environ):
        with self.log.open("a") as log:
            environ = {**os.environ, **environ}
            self._process = subprocess.Popen(command, cwd=self._folder, env=environ, stdout=log, stderr=log)
        deadline = time.monotonic() + READY_S
        while not _answers(self._health_url):
            assert self._process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def kill(self):
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None


class Collector:
    """One collector on loopback ports of its own, which survive its restarts."""

    def __init__(self, program, name, folder, free_port, **environ):
        self._program = program
        self._configuration = ROOT / "collector" / name
        self._environ = environ
        self._ports = {part: free_port() for part in ("grpc", "http", "health", "telemetry", "page")}
        self._server = Server(name, folder, f"http://127.0.0.1:{self._ports['health']}/")
        self.kill = self._server.kill

    @property
    def otlp_url(self):
        return f"http://127.0.0.1:{self._ports['http']}"

    @property
    def addresses(self):
        """What Prometheus scrapes, by its address in the committed configuration."""
        ports = {"collector:8889": self._ports["page"], "collector:8888": self._ports["telemetry"]}
        return {committed: f"127.0.0.1:{port}" for committed, port in ports.items()}

    def start(self):
        self._server.start(self._command(), **self._environ)

    def samples(self, metric, part=""):
        """Return the label sets and values of a metric on the page for Prometheus."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._ports['page']}/metrics", headers={"Accept": OPENMETRICS}
        )
        with urllib.request.urlopen(request, timeout=5) as answer:
            families = list(text_string_to_metric_families(answer.read().decode()))
        name = metric.prometheus_name + part
        return [sample for family in families for sample in family.samples if sample.name == name]

    def own_metrics(self):
        """Return the names of what the collector tells about itself."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._ports['telemetry']}/metrics", timeout=5) as answer:
            return set(re.findall(r"^(\w+)", answer.read().decode(), re.MULTILINE))

    def total(self, metric, **labels):
        matching = (one for one in self.samples(metric) if labels.items() <= one.labels.items())
        return sum(sample.value for sample in matching)

    def _command(self):
        """Run the committed configuration; only its addresses move to free ports of loopback."""
        port = self._ports
        moved = {
            "receivers::otlp::protocols::grpc::endpoint": f"127.0.0.1:{port['grpc']}",
            "receivers::otlp::protocols::http::endpoint": f"127.0.0.1:{port['http']}",
            "extensions::health_check::endpoint": f"127.0.0.1:{port['health']}",
        }
        if self._configuration.name == "config.yaml":
            moved["exporters::prometheus::endpoint"] = f"127.0.0.1:{port['page']}"
        telemetry = yaml.safe_load(self._configuration.read_text())["service"]["telemetry"]["metrics"]["readers"]
        telemetry[0]["pull"]["exporter"]["prometheus"] |= {"host": "127.0.0.1", "port": port["telemetry"]}
        moved["service::telemetry::metrics::readers"] = json.dumps(telemetry)
        places = [f"--config=yaml:{key}: {value}" for key, value in moved.items()]
        return [self._program, f"--config={self._configuration}", *places]


class Prometheus:
    """A Prometheus under collector/prometheus.yaml and the committed rules, hurried.

    `addresses` says where the targets of the committed configuration are; a job whose target is nowhere is left out.
    """

    def __init__(self, folder, free_port, addresses, token):
        (folder / "token").write_text(token)
        rules = (ROOT / GENERATED / "prometheus/keygauge.rules.yaml").read_text()
        (folder / "rules.yaml").write_text(re.sub(r"interval: \w+", "interval: 1s", hurry(rules)))
        self._url = f"http://127.0.0.1:{free_port()}"
        committed = yaml.safe_load((ROOT / "collector/prometheus.yaml").read_text())
        configuration = _place(committed, {**addresses, "127.0.0.1:9090": self._url.removeprefix("http://")})
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(configuration))
        self._server = Server("prometheus", folder, f"{self._url}/-/ready")
        self.kill = self._server.kill

    def start(self, program):
        options = ["--config.file=prometheus.yaml", "--storage.tsdb.path=data", "--enable-feature=exemplar-storage"]
        self._server.start([program, *options, f"--web.listen-address={self._url.removeprefix('http://')}"])

    def ask(self, query):
        """Return an instant query's series, each with its one value."""
        return [{**one, "values": [one["value"]]} for one in self._get("query", query=query)]

    def ask_range(self, query, *, span_s):
        """Return the series of a query over the last seconds."""
        now = time.time()
        return self._get("query_range", query=query, start=now - span_s, end=now, step=2)

    def _get(self, what, **parameters):
        body = urllib.parse.urlencode(parameters).encode()
        try:
            with urllib.request.urlopen(f"{self._url}/api/v1/{what}", data=body, timeout=10) as answer:
                data = json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from error
        return data["result"]


class Alertmanager:
    """An Alertmanager under collector/alertmanager.yaml, hurried, whose receivers post to `inbox_url`."""

    def __init__(self, folder, free_port, inbox_url):
        self.address = f"127.0.0.1:{free_port()}"
        configuration = yaml.safe_load(hurry((ROOT / "collector/alertmanager.yaml").read_text()))
        for receiver in configuration["receivers"]:
            receiver["webhook_configs"] = [{"url": inbox_url, "send_resolved": True}]
        (folder / "alertmanager.yaml").write_text(yaml.safe_dump(configuration))
        self._server = Server("alertmanager", folder, f"http://{self.address}/-/ready")
        self.kill = self._server.kill

    def start(self, program):
        options = ["--config.file=alertmanager.yaml", "--storage.path=data", "--cluster.listen-address="]
        self._server.start([program, *options, f"--web.listen-address={self.address}"])


class Inbox:
    """A web server that keeps what Alertmanager sends: (receiver, status, labels), in the order of arrival."""

    def __init__(self):
        self._alerts = []
        inbox = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                inbox._alerts += [(body["receiver"], one["status"], one["labels"]) for one in body["alerts"]]
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def last(self, labels):
        """Return who heard last of the alert with exactly these labels, and whether it fires; None: nobody yet."""
        heard = [(receiver, status) for receiver, status, given in list(self._alerts) if given == labels]
        return heard[-1] if heard else None

    def close(self):
        self._server.shutdown()
        self._server.server_close()


def _place(committed, addresses):
    """Point a Prometheus' configuration at real addresses, and let it look every second."""
    jobs = []
    for job in committed["scrape_configs"]:
        [static] = job["static_configs"]
        targets = [addresses[target] for target in static["targets"] if target in addresses]
        if targets:
            jobs.append({**job, "static_configs": [{**static, "targets": targets}]})
        if "authorization" in job:
            jobs[-1]["authorization"] = {"credentials_file": "token"}
    managers = [addresses[name] for name in ("alertmanager:9093",) if name in addresses]
    return {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yaml"],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": managers}]}]},
        "scrape_configs": jobs,
    }


def _answers(url):
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except OSError:
        return False


@pytest.fixture(scope="session")
def collector_program():
    """The collector of collector/builder.yaml, wherever it was built."""
    version = yaml.safe_load((ROOT / "collector/builder.yaml").read_text())["dist"]["version"]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "keygauge"
    built = Path(os.environ.get("KEYGAUGE_CACHE") or cache) / f"keygauge-otelcol-{version}"
    for path in (os.environ.get("KEYGAUGE_OTELCOL"), shutil.which("keygauge-otelcol"), built):
        if path and os.access(path, os.X_OK):
            return path
    if "CI" in os.environ and os.environ.get("KEYGAUGE_OTELCOL") != "absent":
        pytest.fail("no collector: run collector/build.sh")
    pytest.skip("no collector on this machine: collector/build.sh builds one where Go is installed")


@pytest.fixture
def collector(collector_program, tmp_path, free_port):
    """`collector(name, …)` starts a collector under one of the committed configurations."""
    started = []

    def start(name, **environ):
        started.append(Collector(collector_program, name, tmp_path, free_port, **environ))
        started[-1].start()
        return started[-1]

    yield start
    for one in started:
        one.kill()


@pytest.fixture(scope="session")
def run_prometheus(free_port, tmp_path_factory):
    """`with run_prometheus(addresses, token) as prometheus` runs one."""
    program = find_program("prometheus", "apt-get install prometheus")

    @contextmanager
    def run(addresses, token):
        prometheus = Prometheus(tmp_path_factory.mktemp("prometheus"), free_port, addresses, token)
        try:
            prometheus.start(program)
            yield prometheus
        finally:
            prometheus.kill()

    return run


@pytest.fixture(scope="session")
def run_alertmanager(free_port, tmp_path_factory):
    """`with run_alertmanager() as (alertmanager, inbox)` runs one, and a web server that hears what it has to say."""
    program = find_program("prometheus-alertmanager", "apt-get install prometheus-alertmanager")

    @contextmanager
    def run():
        inbox = Inbox()
        alertmanager = Alertmanager(tmp_path_factory.mktemp("alertmanager"), free_port, inbox.url)
        try:
            alertmanager.start(program)
            yield alertmanager, inbox
        finally:
            alertmanager.kill()
            inbox.close()

    return run
