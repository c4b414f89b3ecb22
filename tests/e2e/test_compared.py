"""The same app with and without KeyGauge, on real servers: clients get the same bytes."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from ports import free_port
from wire import send_http1, send_http2, talk

APP = (Path(__file__).parent / "compared_app.py").read_text()
GUNICORN = ["gunicorn", "--bind", "127.0.0.1:{port}", "-k"]
SERVERS = {
    "uvicorn": ["uvicorn", "small:asgi", "--port", "{port}"],
    "hypercorn": ["hypercorn", "small:asgi", "--bind", "127.0.0.1:{port}"],
    "granian": ["granian", "small:asgi", "--interface", "asgi", "--port", "{port}"],
    "gunicorn": [*GUNICORN, "gthread", "small:wsgi"],
    "granian wsgi": ["granian", "small:wsgi", "--interface", "wsgi", "--port", "{port}"],
    "waitress": ["waitress-serve", "--listen", "127.0.0.1:{port}", "small:wsgi"],
}
CASES = (
    *("raise", "headers", "204", "205", "304", "stream", "again", "nothing", "broken", "short", "redirect", "gzip"),
    *(
        "event-stream",
        "length",
        "short-length",
        "long-length",
        "server",
        "teapot",
        "unavailable",
        "start-twice",
        "many",
    ),
    *(
        "empty-parts",
        "slow",
        "big",
        "after-end",
        "write",
        "late-start",
        "a%20b?x=%ff",
        "a%2Fb",
        "%E6%A8%A1",
        "?",
        "a;b=c",
    ),
)
CHUNKS = "5\r\nhello\r\n0\r\n\r\n"
REQUESTS = [
    *[f"{method} /echo HTTP/1.1\r\n\r\n" for method in ("GET", "HEAD", "OPTIONS", "DELETE", "BREW", "get", "TRACE")],
    *[f"GET /{case} HTTP/1.1\r\n\r\n" for case in CASES],
    *[f"HEAD /{case} HTTP/1.1\r\n\r\n" for case in ("stream", "big", "length", "headers")],
    "GET /echo HTTP/1.0\r\n\r\n",
    "GET /stream HTTP/1.0\r\n\r\n",
    "GET http://api/echo HTTP/1.1\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\n\r\n",
    *[
        f"{method} /echo HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"
        for method in ("POST", "PUT", "PATCH", "DELETE", "GET")
    ],
    "POST /echo HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    f"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{CHUNKS}",
    "POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\n",
    "POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
    f"POST /echo HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n{CHUNKS}",
    f"POST /raise HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{CHUNKS}",
    "POST /early HTTP/1.1\r\nContent-Length: 9000000\r\nExpect: 100-continue\r\n\r\n",
    "POST /echo HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
    "POST /unread HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
    "POST /first-part HTTP/1.1\r\nContent-Length: 10\r\n\r\nhel\nlo you",
    "POST /echo HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "POST /echo HTTP/1.1\r\nContent-Length: five\r\n\r\nhello",
    f"POST /echo HTTP/1.1\r\nContent-Length: 200000\r\n\r\n{'x' * 200_000}",
    "GET /echo HTTP/1.1\r\nX-A: 1\r\nX-A: 2\r\nCookie: a=b\r\n\r\n",
    "GET /echo HTTP/1.1\r\nX-Empty:\r\nX_Under: 1\r\n\r\n",
    f"GET /echo HTTP/1.1\r\nX-Long: {'x' * 4000}\r\n\r\n",
    f"GET /echo HTTP/1.1\r\n{''.join(f'X-{number}: 1' + chr(13) + chr(10) for number in range(60))}\r\n",
    "GET /echo HTTP/1.1\r\nRange: bytes=0-1\r\nIf-None-Match: x\r\n\r\n",
    "GET /echo HTTP/1.1\r\nBad Name: x\r\n\r\n",
    f"GET /{'a' * 2000} HTTP/1.1\r\n\r\n",
    "GET //echo/../raise HTTP/1.1\r\n\r\n",
    "GET echo HTTP/1.1\r\n\r\n",
    "GET /echo HTTP/9.9\r\n\r\n",
    "NONSENSE\r\n\r\n",
]
HTTP2 = [
    *[
        ("GET", f"/{case}", b"")
        for case in ("echo", "raise", "headers", "204", "stream", "many", "big", "broken", "early")
    ],
    *[
        ("POST", "/echo", b"hello"),
        ("POST", "/echo", b"x" * 50_000),
        ("HEAD", "/echo", b""),
        ("POST", "/unread", b"hello"),
    ],
]
TALKS = {
    "echo": ("/echo", ["hello"], {}),
    "bytes": ("/echo", [b"\x00\xff"], {}),
    "several": ("/echo", ["a", b"b", "c"], {}),
    "large": ("/echo", ["x" * 100_000], {}),
    "empty": ("/echo", [""], {}),
    "ping": ("/echo", ["ping"], {}),
    "thrice": ("/thrice", ["a"], {}),
    "subprotocol": ("/echo", ["a"], {"subprotocols": ["v1", "v2"]}),
    "own code": ("/echo", ["a"], {"close": 4001}),
    "closed by the app": ("/close", ["a"], {}),
    "rejected": ("/reject", [], {}),
    "raised": ("/raise", ["a"], {}),
    "raised before": ("/raise-before", [], {}),
}
# Cases that fail without KeyGauge too: the server waits for missing data, has no `write`, or sends a HEAD's body.
LEFT_OUT = {
    "waitress": {"POST /early HTTP/1.1\r\nContent-Length: 9000000\r\nExpect: 100-continue\r\n\r\n"},
    "granian wsgi": {"GET /write HTTP/1.1\r\n\r\n"},
    "granian": {("HEAD", "/echo", b"")},
    "hypercorn": {("GET", "/broken", b"")},
}


@pytest.fixture
def ports(servers):
    """`ports(name)` serves the app without and with KeyGauge, and returns their ports."""

    def serve(name):
        observed = SimpleNamespace(service_url="", service_token="")
        started = []
        for kind in ("plain_", ""):
            command = [part.replace("small:", f"small:{kind}") for part in SERVERS[name]]
            started.append(free_port())
            servers.start(command, {"small.py": APP}, observed, port=started[-1], KEYGAUGE_MODE="observe")
        return started

    yield serve
    for process in servers.running:
        for worker in psutil.Process(process.pid).children(recursive=True):
            worker.kill()  # granian's workers survive when it is killed


def written(request):
    """Return the bytes of a request, with common headers added."""
    line, _, rest = request.partition("\r\n")
    head = "" if line == "NONSENSE" else "Host: api\r\nConnection: close\r\n"
    return f"{line}\r\n{head}{rest}".encode()


def differing(name, ports, cases, ask):
    """Send each case to both servers; return those with different answers."""
    found = {}
    with ThreadPoolExecutor(len(ports)) as clients:
        for case in [case for case in cases if case not in LEFT_OUT.get(name, ())]:
            without, with_us = clients.map(ask, ports, [case] * len(ports))
            if without != with_us:
                found[str(case)[:60]] = (without[:300], with_us[:300])
    return found


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", SERVERS)
def test_http1_answers_are_the_same(ports, name):
    assert differing(name, ports(name), REQUESTS, lambda port, request: send_http1(port, written(request))) == {}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["hypercorn", "granian"])
def test_http2_answers_are_the_same(ports, name):
    assert differing(name, ports(name), HTTP2, lambda port, case: send_http2(port, *case)) == {}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["uvicorn", "hypercorn", "granian"])
def test_websocket_conversations_are_the_same(ports, name):
    def ask(port, case):
        path, messages, options = TALKS[case]
        return talk(port, path, messages, **options)

    assert differing(name, ports(name), TALKS, ask) == {}
