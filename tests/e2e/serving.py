"""Servers started the way users start them, with a collector and a client."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from http.client import HTTPConnection, RemoteDisconnected
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

BIN = Path(sys.executable).parent
TESTS = Path(__file__).parent.parent


class Receiver:
    """A receiver of OTLP requests as raw bytes."""

    def __init__(self):
        self.bodies = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                receiver.take(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def base_url(self):
        return f"http://127.0.0.1:{self.server.server_port}"

    def take(self, body):
        self.bodies.append(body)

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Collector(Receiver):
    """A receiver that keeps the last, cumulative value of every series."""

    def __init__(self):
        self.series = {}
        super().__init__()

    @property
    def url(self):
        return f"{self.base_url}/v1/metrics"

    def take(self, body):
        for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
            instance = resource.resource.SerializeToString()
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    points = metric.sum.data_points or metric.histogram.data_points
                    for point in points:
                        values = {pair.key: pair.value for pair in point.attributes}
                        labels = {name: value.string_value or value.int_value for name, value in values.items()}
                        value = point.count if metric.histogram.data_points else point.as_int
                        self.series[instance, metric.name, json.dumps(labels)] = value

    def total(self, name, **labels):
        return sum(
            value
            for (_, metric, own), value in self.series.items()
            if metric == name and labels.items() <= json.loads(own).items()
        )


class Servers:
    """Servers in their own directory, with middleware configured for the key service and the collector."""

    def __init__(self, directory, collector):
        self.directory = directory
        self.log = directory / "server.log"
        self.spool = directory / "spool"
        self.collector = collector
        self.running = []

    def start(self, command, files, stack, *, port, bin_dir=BIN, path=(), ready_s=150, **environ):
        """Start a server with a command, in which {port} is the port; return the process when it listens."""
        for name, text in files.items():
            (self.directory / name).write_text(text)
        paths = [str(self.directory), str(TESTS), *map(str, path), *filter(None, [os.environ.get("PYTHONPATH")])]
        given = {
            "KEYGAUGE_SERVICE_URL": stack.service_url,
            "KEYGAUGE_SERVICE_TOKEN": stack.service_token,
            "KEYGAUGE_SPOOL_DIR": str(self.spool),
            "KEYGAUGE_SPOOL_KEEP_S": "0",  # so that files left on disk are not in the ledger
            "KEYGAUGE_WAIT_S": "10",
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": self.collector.url,
            "HOME": str(self.directory),  # gunicorn puts a socket there
            "PATH": f"{bin_dir}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join(paths),
            **environ,
        }
        arguments = [str(bin_dir / command[0]), *[part.format(port=port) for part in command[1:]]]
        with self.log.open("wb") as log:
            process = subprocess.Popen(
                arguments,
                cwd=self.directory,
                env={**os.environ, **given},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.running.append(process)
        wait_until_ready(port, process, self.log, ready_s)
        return process

    def stop(self):
        for process in self.running:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # including its workers
            process.wait()


def wait_until_ready(port, process, log, timeout_s=150):
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=20):
            return
        time.sleep(0.1)
    pytest.fail(f"the server does not answer: {log.read_text()[-2000:]}")


def get(port, path, token=""):
    """Send a GET over a new connection, so that requests are spread over the workers."""
    while True:
        connection = HTTPConnection("127.0.0.1", port, timeout=150)
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
            answer = connection.getresponse()
            answer.read()
        except (ConnectionError, RemoteDisconnected):  # a worker exited before it accepted the request
            time.sleep(0.01)
        else:
            return answer.status
        finally:
            connection.close()


def terminate(process):
    process.send_signal(signal.SIGTERM)
    return process.wait(150)
