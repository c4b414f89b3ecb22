"""Real collectors, Prometheus servers and Alertmanagers on loopback, each with its committed configuration."""

import json
import os
import re
import shutil
import sys
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from ports import free_port
from prometheus_client.openmetrics.parser import text_string_to_metric_families

sys.path.insert(0, str(Path(__file__).parent))
from watchers import Alertmanager, Inbox, Prometheus, Server, find_program

ROOT = Path(__file__).parents[3]
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


class Collector:
    """One collector on its own loopback ports, which stay the same across restarts."""

    def __init__(self, program, name, folder, **environ):
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
        """The real addresses of Prometheus' targets, by their address in the committed configuration."""
        ports = {"collector:8889": self._ports["page"], "collector:8888": self._ports["telemetry"]}
        return {committed: f"127.0.0.1:{port}" for committed, port in ports.items()}

    def start(self):
        self._server.start(self._command(), **self._environ)

    def samples(self, metric, part=""):
        """Return the label sets and values of a metric on the page for Prometheus."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._ports['page']}/metrics", headers={"Accept": OPENMETRICS}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            families = list(text_string_to_metric_families(answer.read().decode()))
        name = metric.prometheus_name + part
        return [sample for family in families for sample in family.samples if sample.name == name]

    def own_metrics(self):
        """Return the names of the collector's own metrics."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._ports['telemetry']}/metrics", timeout=60) as answer:
            return set(re.findall(r"^(\w+)", answer.read().decode(), re.MULTILINE))

    def total(self, metric, **labels):
        matching = (one for one in self.samples(metric) if labels.items() <= one.labels.items())
        return sum(sample.value for sample in matching)

    def _command(self):
        """Return the command that runs the committed configuration with addresses on free loopback ports."""
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
def collector(collector_program, tmp_path):
    """`collector(name, …)` starts a collector with one of the committed configurations."""
    started = []

    def start(name, **environ):
        started.append(Collector(collector_program, name, tmp_path, **environ))
        started[-1].start()
        return started[-1]

    yield start
    for one in started:
        one.kill()


@pytest.fixture(scope="session")
def run_prometheus(tmp_path_factory):
    """`with run_prometheus(addresses, token) as prometheus` runs one."""
    program = find_program("prometheus", "apt-get install prometheus")

    @contextmanager
    def run(addresses, token):
        prometheus = Prometheus(tmp_path_factory.mktemp("prometheus"), addresses, token)
        try:
            prometheus.start(program)
            yield prometheus
        finally:
            prometheus.kill()

    return run


@pytest.fixture(scope="session")
def run_alertmanager(tmp_path_factory):
    """`with run_alertmanager() as (alertmanager, inbox)` runs one, and a web server that receives its notifications."""
    program = find_program("prometheus-alertmanager", "apt-get install prometheus-alertmanager")

    @contextmanager
    def run():
        inbox = Inbox()
        alertmanager = Alertmanager(tmp_path_factory.mktemp("alertmanager"), inbox.url)
        try:
            alertmanager.start(program)
            yield alertmanager, inbox
        finally:
            alertmanager.kill()
            inbox.close()

    return run
