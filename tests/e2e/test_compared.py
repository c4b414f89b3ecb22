"""The same app with KeyGauge and without, on real servers: what a client gets is the same to the byte."""

import re
import socket
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from ports import free_port

APP = '''
import asyncio

from keygauge import asgi as keygauge_asgi
from keygauge import wsgi as keygauge_wsgi

TEXT = [(b"content-type", b"text/plain")]


async def plain_asgi(scope, receive, send):
    """Behave as the path says, well or badly."""
    assert scope["type"] == "http"
    case = scope["path"].strip("/").partition("/")[0]
    start = {"type": "http.response.start", "status": 200, "headers": TEXT}
    part = {"type": "http.response.body", "body": b"part", "more_body": True}
    last = {"type": "http.response.body", "body": b"last"}
    if case == "early":
        await send({**start, "status": 413, "headers": [*TEXT, (b"content-length", b"4")]})
        await send(last)
        return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    if case == "raise":
        raise LookupError
    if case == "nothing":
        return
    if case == "headers":
        twice = [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"x-odd", bytes([228]))]
        start = {**start, "status": 418, "headers": [*TEXT, *twice]}
    if case in {"204", "304"}:
        await send({**start, "status": int(case), "headers": []})
        await send({"type": "http.response.body"})
        return
    await send(start)
    if case == "broken":
        await send(part)
        raise LookupError
    if case == "short":
        await send(part)
        return
    if case == "stream":
        for _ in range(3):
            await send(part)
            await asyncio.sleep(0.01)
    await send({**last, "body": scope["method"].encode() + b" " + body})


asgi = keygauge_asgi.KeyGaugeMiddleware(plain_asgi)


def plain_wsgi(environ, start_response):
    """Behave as the path says, well or badly."""
    case = environ["PATH_INFO"].strip("/").partition("/")[0]
    text = [("Content-Type", "text/plain")]
    if case == "early":
        start_response("413 Too Much", [*text, ("Content-Length", "4")])
        return [b"last"]
    length = int(environ.get("CONTENT_LENGTH") or 0)
    body = environ["wsgi.input"].read(length) if length else b""
    if case == "raise":
        raise LookupError
    if case == "headers":
        start_response("418 Odd", [*text, ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
        return [b"x"]
    if case in {"204", "304"}:
        start_response(case + " Bare", [])
        return []
    if case == "again":
        start_response("200 OK", text)
        try:
            raise LookupError
        except LookupError:
            import sys

            start_response("503 Again", text, sys.exc_info())
        return [b"again"]
    start_response("200 OK", text)
    if case == "stream":
        return (b"part" for _ in range(3))
    return [environ["REQUEST_METHOD"].encode() + b" " + body]


wsgi = keygauge_wsgi.KeyGaugeMiddleware(plain_wsgi)
'''
GUNICORN = ["gunicorn", "--bind", "127.0.0.1:{port}", "-k", "gthread"]
SERVERS = {
    "uvicorn": ["uvicorn", "small:asgi", "--port", "{port}"],
    "hypercorn": ["hypercorn", "small:asgi", "--bind", "127.0.0.1:{port}"],
    "granian": ["granian", "small:asgi", "--interface", "asgi", "--port", "{port}"],
    "gunicorn": [*GUNICORN, "small:wsgi"],
    "granian wsgi": ["granian", "small:wsgi", "--interface", "wsgi", "--port", "{port}"],
    "waitress": ["waitress-serve", "--listen", "127.0.0.1:{port}", "small:wsgi"],
}
REQUESTS = [
    *[f"{method} /echo HTTP/1.1\r\n\r\n" for method in ("GET", "HEAD", "OPTIONS", "DELETE", "BREW")],
    *[
        f"GET /{case} HTTP/1.1\r\n\r\n"
        for case in ("raise", "headers", "204", "304", "stream", "again", "nothing", "broken", "short", "a%20b?x=%ff")
    ],
    "GET /echo HTTP/1.0\r\n\r\n",
    "HEAD /stream HTTP/1.1\r\n\r\n",
    "POST /echo HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
    "POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "POST /early HTTP/1.1\r\nContent-Length: 9000000\r\nExpect: 100-continue\r\n\r\n",
    "POST /echo HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
    f"POST /echo HTTP/1.1\r\nContent-Length: 200000\r\n\r\n{'x' * 200_000}",
    "GET /echo HTTP/1.1\r\nX-A: 1\r\nX-A: 2\r\nCookie: a=b\r\n\r\n",
    "GET //echo/../raise HTTP/1.1\r\n\r\n",
    "NONSENSE\r\n\r\n",
]


def send(port, request):
    """Send a request as it is written; return all that comes back but the date."""
    line, _, rest = request.partition("\r\n")
    head = "" if line == "NONSENSE" else "Host: api\r\nConnection: close\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.settimeout(20)
        answer = b""
        try:
            connection.sendall(f"{line}\r\n{head}{rest}".encode())
            while part := connection.recv(65536):
                answer += part
        except OSError as error:
            answer += type(error).__name__.encode()
    return re.sub(rb"(?i)date: [^\r]*\r\n", b"", answer)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", SERVERS)
def test_a_client_gets_the_same(servers, name):
    observed = SimpleNamespace(service_url="", service_token="")
    ports = []
    for kind in ("plain_", ""):
        command = [part.replace("small:", f"small:{kind}") for part in SERVERS[name]]
        ports.append(free_port())
        servers.start(command, {"small.py": APP}, observed, port=ports[-1], KEYGAUGE_MODE="observe")
    differing = {}
    with ThreadPoolExecutor(len(ports)) as clients:
        for request in REQUESTS:
            without, with_us = clients.map(send, ports, [request] * len(ports))
            if without != with_us:
                differing[request[:60]] = (without[:300], with_us[:300])
    assert differing == {}
