"""One small app on every server: ledger and metrics match the requests, and SIGTERM leaves nothing behind."""

import os
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import entry_points
from urllib.error import URLError
from urllib.request import urlopen

import psutil
import psycopg
import pytest
from polling import until
from ports import free_ports
from prometheus_client.parser import text_string_to_metric_families
from serving import get, terminate

from keygauge_keyservice.accounts import plans

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
plain_asgi = Starlette(routes=routes)
asgi = keygauge_asgi.KeyGaugeMiddleware(Starlette(routes=routes))

flask_app = Flask(__name__)
flask_app.add_url_rule("/items/<n>", "item", lambda n: CHAT)
flask_app.add_url_rule("/stream", "stream", lambda: Response(iter(LINES), mimetype="text/event-stream"))
flask_app.add_url_rule("/healthz", "healthz", lambda: CHAT)
plain_wsgi = flask_app
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
    "gunicorn sync, max_requests": [*GUNICORN, "--max-requests", "30", "small:wsgi"],
    "gunicorn gthread": [*GUNICORN, "--worker-class", "gthread", "--threads", "4", "small:wsgi"],
    "gunicorn gthread, preload": [*GUNICORN, "-k", "gthread", "--threads", "4", "--preload", "small:wsgi"],
    "gunicorn uvicorn": [*GUNICORN, "-k", "uvicorn_worker.UvicornWorker", "small:asgi"],
    "gunicorn uvicorn, max_requests": [
        *(*GUNICORN, "-k", "uvicorn_worker.UvicornWorker", "--max-requests", "30", "small:asgi")
    ],
    "hypercorn": ["hypercorn", "small:asgi", "--bind", "127.0.0.1:{port}", "--workers", "2"],
    "hypercorn wsgi": ["hypercorn", "wsgi:small:wsgi", "--bind", "127.0.0.1:{port}", "--workers", "2"],
    "granian": ["granian", "small:asgi", "--interface", "asgi", "--port", "{port}", "--workers", "2"],
    "granian wsgi": ["granian", "small:wsgi", "--interface", "wsgi", "--port", "{port}", "--workers", "2"],
}
ZERO_CODE = {
    "uvicorn": ["opentelemetry-instrument", "uvicorn", "small:plain_asgi", "--port", "{port}"],
    "gunicorn": ["opentelemetry-instrument", *GUNICORN, "small:plain_wsgi"],
    "gunicorn gthread": ["opentelemetry-instrument", *GUNICORN, "-k", "gthread", "--threads", "4", "small:plain_wsgi"],
    "gunicorn gthread, preload": [
        *("opentelemetry-instrument", *GUNICORN, "-k", "gthread", "--threads", "4", "--preload", "small:plain_wsgi")
    ],
    "uvicorn, and by hand": ["opentelemetry-instrument", "uvicorn", "small:asgi", "--port", "{port}"],
}
RELOADS = ("uvicorn, 2 workers", "gunicorn sync", "gunicorn gthread", "gunicorn uvicorn")  # by SIGHUP
REQUESTS = 120
CLIENTS = 4


def send(port, token, count):
    """Send requests with one client; count the answers by status."""
    paths = ["/stream" if number % 4 == 0 else f"/items/{number}" for number in range(count)]
    return Counter(get(port, path, token) for path in paths)


def units_taken(stack, key):
    """Return the month's units that are leased or spent."""
    with psycopg.connect(stack.database_url) as connection:
        query = (
            "SELECT cells[1] FROM limit_state JOIN plan_limit ON limit_state.id LIKE plan_limit.id || ':%%' "
            "WHERE plan_limit.name = 'monthly_requests' AND limit_state.account_id = %s"
        )
        return connection.execute(query, (key.account_id,)).fetchone()[0]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("command", SERVERS.values(), ids=SERVERS)
def test_every_request_is_counted_once_and_sigterm_leaves_nothing(check, command):
    check(command)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["hypercorn", "hypercorn wsgi"])
def test_terminated_workers_ship_their_events(check, name):
    check(SERVERS[name], end=terminate_workers)  # hypercorn terminates all as soon as the first one has ended


@pytest.mark.timeout(600)
@pytest.mark.parametrize("command", ZERO_CODE.values(), ids=ZERO_CODE)
def test_every_request_is_counted_once_with_zero_code(check, command):
    if not entry_points(group="opentelemetry_instrumentor", name="keygauge"):
        reason = "keygauge is installed without its entry point opentelemetry_instrumentor: install it again"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    check(command)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", RELOADS)
def test_graceful_reload_loses_nothing(check, name):
    check(SERVERS[name], reloads=True)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["uvicorn, 2 workers", "gunicorn sync, preload", "granian"])
def test_prometheus_pulls_each_worker_on_its_own_port(key_service, serve, name):
    key, token = key_service.create_key(plans.Limit(name="rpm", unit="request", amount=100_000, window_s=60))
    ports = free_ports(20)
    port, process = serve(
        SERVERS[name],
        {"small.py": APP},
        key_service,
        OTEL_EXPORTER_OTLP_METRICS_ENDPOINT="",
        KEYGAUGE_PROMETHEUS_PORTS=f"{ports[0]}-{ports[-1]}",
    )
    sent, pages, deadline = Counter(), [], time.monotonic() + 150
    with ThreadPoolExecutor(CLIENTS) as clients:
        while len(pages) < 2 and time.monotonic() < deadline:  # a worker serves its page after its first request
            sent += sum(clients.map(lambda _: send(port, token, REQUESTS // CLIENTS), range(CLIENTS)), Counter())
            pages = [page for page in map(pull, ports) if page]
    assert sent.keys() == {200}
    assert len(pages) == 2

    def counted():
        pulled = [sample for sample in samples(ports) if sample.name == "keygauge_requests_total"]
        return sum(sample.value for sample in pulled if sample.labels["keygauge_key_id"] == key.id)

    until(lambda: counted() >= sent[200])  # granian sends an answer while its worker still counts the call
    assert counted() == sent[200]
    infos = [sample for sample in samples(ports) if sample.name == "target_info"]
    assert len({sample.labels["service_instance_id"] for sample in infos}) == 2
    terminate(process)


def samples(ports):
    return [sample for page in map(pull, ports) for family in page for sample in family.samples]


def pull(port):
    """Get a metrics page like Prometheus; empty if nothing listens."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=150) as answer:
            return list(text_string_to_metric_families(answer.read().decode()))
    except URLError as error:
        if not isinstance(error.reason, ConnectionRefusedError):
            raise
        return []


def terminate_workers(process):
    workers = psutil.Process(process.pid).children()
    for worker in workers:
        worker.terminate()
    psutil.wait_procs(workers, timeout=150)
    process.wait(150)


@pytest.fixture
def check(key_service, collector, serve, tmp_path):
    """Start a server with a command, send requests, stop the server, and compare."""
    return partial(check_counts, key_service, collector, serve, tmp_path)


def check_counts(key_service, collector, serve, tmp_path, command, *, reloads=False, end=terminate):
    key, token = key_service.create_key(
        plans.Limit(name="rpm", unit="request", amount=100_000, window_s=60),
        plans.Limit(name="monthly_requests", unit="request", amount=1_000_000, period="month"),
    )
    port, process = serve(command, {"small.py": APP}, key_service)
    with ThreadPoolExecutor(CLIENTS) as clients:
        answers = clients.map(lambda _: send(port, token, REQUESTS // CLIENTS), range(CLIENTS))
        if reloads:  # in the middle of the requests
            time.sleep(0.2)
            process.send_signal(signal.SIGHUP)
        sent = sum(answers, Counter())
    assert sent == {200: REQUESTS}, (tmp_path / "server.log").read_text()[-2000:]
    end(process)
    events = key_service.ledger(key.id, "status, input_tokens, output_tokens")
    assert Counter(events) == {(200, 11, 7): REQUESTS}
    assert collector.total("keygauge.requests", **{"keygauge.key.id": key.id}) == REQUESTS
    assert collector.total("keygauge.tokens") == 18 * REQUESTS
    # Requests without a key count too: another test's Prometheus may still scrape the port's previous owner.
    assert collector.total("keygauge.request.duration") == collector.total("keygauge.requests")
    assert list((tmp_path / "spool").glob("*.lock")) == []  # all events are in the ledger
    assert units_taken(key_service, key) == REQUESTS  # every lease was returned with its unspent units
