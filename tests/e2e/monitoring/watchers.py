"""Prometheus and Alertmanager on loopback with their committed configurations, and a receiver of notifications."""

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
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from ports import free_port

from keygauge_dashboards.generate import GENERATED

ROOT = Path(__file__).parents[3]
READY_S = 150
UNITS_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def hurry(text):
    """Make each minute of a configuration or rule last a second: windows, offsets, intervals, waits and `for`.

    Thresholds stay unchanged, so the same conditions fire, only sooner.
    """
    duration = r"(\[|offset |for: |_interval: |interval: |group_wait: )(\d+)([smhd])\b"
    return re.sub(duration, lambda found: f"{found[1]}{int(found[2]) * UNITS_MS[found[3]] // 60}ms", text)


def find_program(name, way_out):
    """Return the path of a program, or skip the test if it is missing (fail in CI)."""
    path = shutil.which(name)
    if path is None and "CI" in os.environ:
        pytest.fail(f"no {name} on this machine: {way_out}")
    if path is None:
        pytest.skip(f"no {name} on this machine: {way_out}")
    return path


class Server:
    """A program that is started, waited for and stopped; its output goes to a file."""

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


class Prometheus:
    """A Prometheus with collector/prometheus.yaml and the committed rules, sped up.

    `addresses` maps the targets of the committed configuration to real ones; jobs without a target are left out.
    """

    def __init__(self, folder, addresses, token):
        (folder / "token").write_text(token)
        rules = (ROOT / GENERATED / "prometheus/keygauge.rules.yaml").read_text()
        (folder / "rules.yaml").write_text(re.sub(r"interval: \w+", "interval: 1s", hurry(rules)))
        self.url = f"http://127.0.0.1:{free_port()}"
        committed = yaml.safe_load((ROOT / "collector/prometheus.yaml").read_text())
        configuration = _place(committed, {**addresses, "127.0.0.1:9090": self.url.removeprefix("http://")})
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(configuration))
        self._managers = sum(
            len(one["targets"]) for one in configuration["alerting"]["alertmanagers"][0]["static_configs"]
        )
        self._server = Server("prometheus", folder, f"{self.url}/-/ready")
        self.kill = self._server.kill

    def start(self, program):
        options = ["--config.file=prometheus.yaml", "--storage.tsdb.path=data", "--enable-feature=exemplar-storage"]
        self._server.start([program, *options, f"--web.listen-address={self.url.removeprefix('http://')}"])
        self._await_all_parts()

    def query(self, query):
        """Return an instant query's series, each with its value."""
        return [{**one, "values": [one["value"]]} for one in self._get("query", query=query)["result"]]

    def query_range(self, query, *, span_s):
        """Return the series of a query over the last seconds."""
        now = time.time()
        return self._get("query_range", query=query, start=now - span_s, end=now, step=2)["result"]

    def _await_all_parts(self):
        """Wait for the first scrapes and for the Alertmanagers, which are discovered after some seconds.

        An alert that fires earlier is dropped and only sent again a minute later, which is long in this sped-up setup.
        """
        deadline = time.monotonic() + READY_S
        while self._parts() != (0, self._managers):
            assert time.monotonic() < deadline, self._parts()
            time.sleep(0.05)

    def _parts(self):
        """Return how many targets were not scraped yet, and how many Alertmanagers are known."""
        targets = self._get("targets", state="active")["activeTargets"]
        managers = self._get("alertmanagers")["activeAlertmanagers"]
        return sum(target["health"] == "unknown" for target in targets), len(managers)

    def _get(self, what, **parameters):
        try:
            with urllib.request.urlopen(
                f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(parameters)}", timeout=10
            ) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from error


class Alertmanager:
    """An Alertmanager with collector/alertmanager.yaml, sped up, whose receivers post to `inbox_url`."""

    def __init__(self, folder, inbox_url):
        self.address = f"127.0.0.1:{free_port()}"
        configuration = yaml.safe_load(hurry((ROOT / "collector/alertmanager.yaml").read_text()))
        for receiver in configuration["receivers"]:
            receiver["webhook_configs"] = [{"url": inbox_url, "send_resolved": True}]
        configuration["templates"] = [str(ROOT / "collector" / name) for name in configuration["templates"]]
        (folder / "alertmanager.yaml").write_text(yaml.safe_dump(configuration))
        self._server = Server("alertmanager", folder, f"http://{self.address}/-/ready")
        self.kill = self._server.kill

    def start(self, program):
        options = ["--config.file=alertmanager.yaml", "--storage.path=data", "--cluster.listen-address="]
        self._server.start([program, *options, f"--web.listen-address={self.address}"])


class Inbox:
    """A web server that stores Alertmanager's notifications: (receiver, status, labels), in order of arrival."""

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
        """Return the last receiver and status of the alert with exactly these labels; None if there is none."""
        heard = [(receiver, status) for receiver, status, given in list(self._alerts) if given == labels]
        return heard[-1] if heard else None

    def close(self):
        self._server.shutdown()
        self._server.server_close()


def _place(committed, addresses):
    """Point Prometheus' configuration at real addresses, with an interval of a second."""
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
        with urllib.request.urlopen(url, timeout=20):
            return True
    except OSError:
        return False
