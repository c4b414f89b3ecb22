"""One small app under every server: ledger and metrics equal the requests sent, and a SIGTERM leaves nothing behind."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import httpx
import psycopg
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from keygauge_keyservice import plans

APP = '''
import json

from flask import Flask, Response
from starlette.applications import Starlette
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from keygauge import asgi as keygauge_asgi
from keygauge import wsgi as keygauge_wsgi

USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
CHAT = {"object": "chat.completion", "model": "gpt-4o-mini", "choices": [], "usage": USAGE}
LINES = [f"data: {json.dumps({**CHAT, 'usage': None})}\\n\\n", f"data: {json.dumps(CHAT)}\\n\\n", "data: [DONE]\\n\\n"]


async def item(request):
    return JSONResponse(CHAT)


async def stream(request):
    async def lines():
        for line in LINES:
            yield line

    return StreamingResponse(lines(), media_type="text/event-stream")


routes = [Route("/items/{n}", item), Route("/stream", stream), Route("/healthz", item)]
asgi = keygauge_asgi.KeyGaugeMiddleware(Starlette(routes=routes))

flask_app = Flask(__name__)
flask_app.add_url_rule("/items/<n>", "item", lambda n: CHAT)
flask_app.add_url_rule("/stream", "stream", lambda: Response(iter(LINES), mimetype="text/event-stream"))
flask_app.add_url_rule("/healthz", "healthz", lambda: CHAT)
wsgi = keygauge_wsgi.KeyGaugeMiddleware(flask_app.wsgi_app)


async def bare(scope, receive, send):
    """An app that takes no part in the lifespan."""
    if scope["type"] != "http":
        raise ValueError(scope["type"])
    await JSONResponse(CHAT)(scope, receive, send)


asgi_without_lifespan = keygauge_asgi.KeyGaugeMiddleware(bare)
'''
GUNICORN = ["gunicorn", "--bind", "127.0.0.1:{port}", "--workers", "2"]
SERVERS = {
    "uvicorn": ["uvicorn", "small:asgi", "--port", "{port}"],
    "uvicorn, no lifespan": ["uvicorn", "small:asgi_without_lifespan", "--port", "{port}"],
    "uvicorn, 2 workers": ["uvicorn", "small:asgi", "--port", "{port}", "--workers", "2"],
    "gunicorn sync": [*GUNICORN, "small:wsgi"],
    "gunicorn sync, preload": [*GUNICORN, "--preload", "small:wsgi"],
    "gunicorn sync, max_requests": [*GUNICORN, "--max-requests", "40", "small:wsgi"],
    "gunicorn gthread": [*GUNICORN, "--worker-class", "gthread", "--threads", "4", "small:wsgi"],
    "gunicorn gthread, preload": [*GUNICORN, "-k", "gthread", "--threads", "4", "--preload", "small:wsgi"],
    "gunicorn uvicorn": [*GUNICORN, "-k", "uvicorn_worker.UvicornWorker", "small:asgi"],
    "gunicorn uvicorn, max_requests": [
        *(*GUNICORN, "-k", "uvicorn_worker.UvicornWorker", "--max-requests", "40", "small:asgi")
    ],
    "hypercorn": ["hypercorn", "small:asgi", "--bind", "127.0.0.1:{port}", "--workers", "2"],
    "hypercorn wsgi": ["hypercorn", "wsgi:small:wsgi", "--bind", "127.0.0.1:{port}", "--workers", "2"],
    "granian": ["granian", "small:asgi", "--interface", "asgi", "--port", "{port}", "--workers", "2"],
    "granian wsgi": ["granian", "small:wsgi", "--interface", "wsgi", "--port", "{port}", "--workers", "2"],
}
REQUESTS = 200
CLIENTS = 4


class Collector:
    """Receives OTLP over HTTP and keeps the last, cumulative value of every series."""

    def __init__(self):
        self.series = {}
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                collector.take(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_port}/v1/metrics"

    def take(self, body):
        for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
            instance = resource.resource.SerializeToString()
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    points = metric.sum.data_points or metric.histogram.data_points
                    for point in points:
                        labels = {pair.key: pair.value.string_value for pair in point.attributes}
                        value = point.count if metric.histogram.data_points else point.as_int
                        self.series[instance, metric.name, json.dumps(labels)] = value

    def total(self, name, **labels):
        return sum(
            value
            for (_, metric, own), value in self.series.items()
            if metric == name and labels.items() <= json.loads(own).items()
        )

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def collector():
    collector = Collector()
    yield collector
    collector.close()


@pytest.fixture
def serve(cold_stack, collector, free_port, tmp_path, monkeypatch):
    """Serve the small app by a command: its address and its process."""
    (tmp_path / "small.py").write_text(APP)
    running = []

    def serve(command):
        port = free_port()
        environ = {
            "KEYGAUGE_SERVICE_URL": cold_stack.service_url,
            "KEYGAUGE_SERVICE_TOKEN": "e2e-service-token-0123456789",
            "KEYGAUGE_SPOOL_DIR": str(tmp_path / "spool"),
            "KEYGAUGE_WAIT_S": "5",
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": collector.url,
            "PYTHONUNBUFFERED": "1",
        }
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        with (tmp_path / "server.log").open("wb") as log:
            arguments = [part.format(port=port) for part in command]
            running.append(
                subprocess.Popen([sys.executable, "-m", *arguments], cwd=tmp_path, stdout=log, stderr=subprocess.STDOUT)
            )
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(f"{url}/healthz", running[-1], tmp_path / "server.log")
        return url, running[-1]

    yield serve
    for process in running:
        process.kill()
        process.wait()


def wait_until_ready(url, process, log):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(url, timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    pytest.fail(f"the server does not answer: {log.read_text()[-2000:]}")


def send(url, token, count):
    """Send requests by one client; count the answers by status."""
    answers = Counter()
    for number in range(count):
        path = "/stream" if number % 4 == 0 else f"/items/{number}"
        # A connection each, so that they spread over the workers and none meets one that a worker closes.
        answer = httpx.get(url + path, headers={"authorization": f"Bearer {token}"}, timeout=20)
        answers[answer.status_code] += 1
    return answers


def terminate(process):
    process.send_signal(signal.SIGTERM)
    return process.wait(20)


def open_leases(stack):
    with psycopg.connect(stack.database_url) as connection:
        return connection.execute("SELECT count(*) FROM lease WHERE ends_at > now()").fetchone()[0]


@pytest.mark.timeout(90)
@pytest.mark.parametrize("command", SERVERS.values(), ids=SERVERS)
def test_every_request_is_counted_once_and_sigterm_leaves_nothing(cold_stack, collector, serve, command, tmp_path):
    cold_stack.start_service()
    key, token = cold_stack.create_key(
        plans.Limit(name="rpm", unit="request", amount=100_000, window_s=60),
        plans.Limit(name="monthly_requests", unit="request", amount=1_000_000, period="month"),
    )
    url, process = serve(command)
    with ThreadPoolExecutor(CLIENTS) as clients:
        sent = sum(clients.map(lambda _: send(url, token, REQUESTS // CLIENTS), range(CLIENTS)), Counter())
    assert sent == {200: REQUESTS}, (tmp_path / "server.log").read_text()[-2000:]
    terminate(process)
    events = cold_stack.ledger(key.id, "status, input_tokens, output_tokens")
    assert Counter(events) == {(200, 11, 7): REQUESTS}
    assert collector.total("keygauge.requests", **{"keygauge.key.id": key.id}) == REQUESTS
    assert collector.total("keygauge.tokens") == 18 * REQUESTS
    assert collector.total("keygauge.request.duration") == REQUESTS
    assert list((tmp_path / "spool").iterdir()) == []
    assert open_leases(cold_stack) == 0
