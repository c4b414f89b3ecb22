"""Answers that break off under real servers: who ended them, and how much was sent."""

import signal
import socket

import pytest
from serving import terminate

from keygauge_keyservice.accounts import plans

ANY = plans.Limit(name="rpm", unit="request", amount=100_000, window_s=60)
APP = """
import asyncio
import tempfile

from keygauge import asgi as keygauge_asgi
from keygauge import wsgi as keygauge_wsgi

SIZE = 50_000_000


async def endless(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    if scope["path"] == "/stream":
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"data: {}\\n\\n", "more_body": True})
    if scope["path"] != "/healthz":
        await asyncio.Event().wait()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def sending_a_file(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    if environ["PATH_INFO"] == "/healthz":
        return [b""]
    file = tempfile.TemporaryFile()
    file.truncate(SIZE)
    return environ["wsgi.file_wrapper"](file)


asgi = keygauge_asgi.KeyGaugeMiddleware(endless)
wsgi = keygauge_wsgi.KeyGaugeMiddleware(sending_a_file)
"""
INSIDE = """
import asyncio

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from keygauge.asgi import KeyGaugeMiddleware


async def slow(request):
    await asyncio.sleep(1)
    return PlainTextResponse("late")


async def healthz(request):
    return PlainTextResponse("ok")


app = Starlette(routes=[Route("/slow", slow), Route("/healthz", healthz)])
app.add_middleware(KeyGaugeMiddleware)
"""
SIZE = 50_000_000


def ask(port, token, path):
    """Send a request, and wait for the first bytes of its answer, if it is one that begins."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=150)
    request = f"GET {path} HTTP/1.1\r\nHost: api\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"
    connection.sendall(request.encode())
    if path != "/slow":
        connection.recv(1000)
    return connection


def test_what_a_forced_shutdown_cuts_off_is_the_servers_doing(key_service, serve, eventually):
    key, token = key_service.create_key(ANY)
    command = ["uvicorn", "broken:asgi", "--port", "{port}", "--timeout-graceful-shutdown", "1"]
    port, process = serve(command, {"broken.py": APP}, key_service)
    with ask(port, token, "/slow"), ask(port, token, "/stream"):
        ask(port, token, "/stream").close()
        process.send_signal(signal.SIGTERM)
        process.wait(150)
    told = [(200, "client_disconnected"), *[(500, "CancelledError")] * 2]
    eventually(lambda: sorted(key_service.ledger(key.id, "status, error")), told, timeout_s=30)


@pytest.mark.parametrize("http", ["h11", "httptools"])
def test_a_client_that_leaves_is_noticed_inside_of_other_middleware(key_service, serve, eventually, http):
    key, token = key_service.create_key(ANY)
    command = ["uvicorn", "inside:app", "--port", "{port}", "--http", http]
    port, process = serve(command, {"inside.py": INSIDE}, key_service)
    with ask(port, token, "/slow") as connection:
        connection.recv(1000)
    ask(port, token, "/slow").close()
    eventually(lambda: len(key_service.ledger(key.id)), 2)
    terminate(process)
    assert sorted(key_service.ledger(key.id, "status, error")) == [(200, None), (499, "client_disconnected")]


@pytest.mark.parametrize(
    "command",
    [
        ["gunicorn", "broken:wsgi", "--bind", "127.0.0.1:{port}"],
        ["gunicorn", "broken:wsgi", "--bind", "127.0.0.1:{port}", "-k", "gthread", "--threads", "2"],
        ["waitress-serve", "--listen", "127.0.0.1:{port}", "broken:wsgi"],
    ],
    ids=["gunicorn sync", "gunicorn gthread", "waitress"],
)
def test_of_a_file_that_a_client_leaves_as_much_is_counted_as_was_sent(key_service, serve, eventually, command):
    key, token = key_service.create_key(ANY)
    port, process = serve(command, {"broken.py": APP}, key_service)
    with ask(port, token, "/file") as connection:
        while connection.recv(2**20):
            pass
    ask(port, token, "/file").close()
    eventually(lambda: len(key_service.ledger(key.id)), 2)
    terminate(process)
    left, whole = sorted(key_service.ledger(key.id, "response_bytes, status, error"))
    assert whole == (SIZE, 200, None)
    assert left[1:] == (200, "client_disconnected")
    assert 0 < left[0] < SIZE
