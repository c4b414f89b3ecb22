"""The proxy in front of an upstream on loopback: forwarded requests, and answers to callers."""

import asyncio
import socket
from threading import Thread

import httpx
import pytest
import uvicorn
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

from keygauge.command_line.proxy import make_app
from keygauge.settings.settings import SettingsError
from keygauge.usage.formats import encoding


@pytest.fixture
def upstream():
    """Run an upstream; return its address and the list of requests it received."""
    came = []

    @Request.application
    def app(request):
        came.append((request.method, request.environ["REQUEST_URI"], request.get_data(), dict(request.headers)))
        if "to" in request.args:
            return Response(status=307, headers={"Location": request.args["to"]})
        return Response(b"told", 418, {"X-Own": "1", "Connection": "x-hop", "X-Hop": "1"})

    server = make_server("127.0.0.1", 0, app)
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.port}", came
    server.shutdown()
    server.server_close()


@pytest.fixture
def ask(monkeypatch, tmp_path):
    """Return a function that sends one request to the proxy and returns its answer and (route, status) pairs."""
    monkeypatch.setenv("KEYGAUGE_MODE", "observe")
    monkeypatch.setenv("KEYGAUGE_SPOOL_DIR", str(tmp_path))

    def ask(address, method="GET", path="/", **options):
        async def visit():
            app = make_app(address, routes=["/files/{id}"])
            transport = httpx.ASGITransport(app, client=("192.0.2.1", 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://api.example.com") as client:
                answer = await client.request(method, path, **options)
            cells = [cell.series for cell in app._process.runtime.aggregator.cells()]
            await asyncio.to_thread(app._process.stop)
            return answer, {(series.route, series.status) for series in cells}

        return asyncio.run(visit())

    return ask


@pytest.fixture
def answered(monkeypatch, tmp_path, upstream):
    """Return a function that sends a path as it is over a socket; returns the status and the upstream's targets."""
    monkeypatch.setenv("KEYGAUGE_MODE", "observe")
    monkeypatch.setenv("KEYGAUGE_SPOOL_DIR", str(tmp_path))
    address, came = upstream
    app = make_app(f"{address}/base", routes=["/files/{id}"])
    server = uvicorn.Server(uvicorn.Config(app, http="h11", log_config=None))
    listener = socket.create_server(("127.0.0.1", 0))
    thread = Thread(target=server.run, args=([listener],))
    thread.start()

    def answered(path):
        with socket.create_connection(listener.getsockname(), timeout=100) as client:
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            answer = b"".join(iter(lambda: client.recv(65_536), b""))
        return int(answer.split()[1]), [target for _, target, _, _ in came]

    yield answered
    server.should_exit = True
    thread.join()


def test_request_is_forwarded_without_hop_by_hop_headers(ask, upstream):
    address, came = upstream
    headers = {"x-mine": "1", "connection": "x-gone", "x-gone": "1", "x-forwarded-for": "198.51.100.7"}
    answer, counted = ask(f"{address}/base", "POST", "/files/a%20b?x=%2F", content=b"hello", headers=headers)
    ((method, target, body, fields),) = came
    assert (method, target, body) == ("POST", "/base/files/a%20b?x=%2F", b"hello")
    assert (fields["X-Mine"], fields["X-Forwarded-Host"]) == ("1", "api.example.com")
    assert fields["X-Forwarded-For"] == "198.51.100.7, 192.0.2.1"
    assert "X-Gone" not in fields
    assert (answer.status_code, answer.content, answer.headers["x-own"]) == (418, b"told", "1")
    assert "x-hop" not in answer.headers
    assert ("/files/{id}", 418) in counted


@pytest.mark.parametrize(
    ("accepted", "forwarded"),
    [
        ("br, GZIP;q=0.5, zstd", "GZIP;q=0.5"),
        ("br", "identity"),
        ("*", "identity"),
        ("deflate,identity;q=0", "deflate, identity;q=0"),
    ],
)
def test_upstream_is_offered_only_encodings_that_can_be_read(ask, upstream, monkeypatch, accepted, forwarded):
    monkeypatch.setattr(encoding, "_find_module", lambda _: None)
    address, came = upstream
    ask(address, headers={"accept-encoding": accepted})
    assert came[0][3]["Accept-Encoding"] == forwarded


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("{address}/base/v1/models?a=b", "/v1/models?a=b"),
        ("{address}/base", "/"),
        ("{address}/base?a=b", "/?a=b"),
        ("{address}/other", "{address}/other"),
        ("http://127.0.0.1.example/base/x", "http://127.0.0.1.example/base/x"),
        ("{address}/based", "{address}/based"),
        ("/base/x", "/x"),
        ("/other", "/other"),
        ("next", "next"),
        ("//elsewhere.example/base/x", "//elsewhere.example/base/x"),
        ("https://elsewhere.example/base/x", "https://elsewhere.example/base/x"),
        ("{address}/base//evil.example/x", "/evil.example/x"),  # never to another host
        ("{address}/base//", "/"),
        ("/base//evil.example/x?a=//b", "/evil.example/x?a=//b"),
    ],
)
def test_redirects_to_the_upstream_lead_to_the_proxy(ask, upstream, location, expected):
    address, _ = upstream
    answer, _ = ask(f"{address}/base", params={"to": location.format(address=address)})
    assert (answer.status_code, answer.headers["location"]) == (307, expected.format(address=address))


@pytest.mark.parametrize(("answers_cors", "status"), [(False, 401), (True, 418)])
def test_preflights_pass_only_if_the_upstream_answers_them(monkeypatch, tmp_path, upstream, answers_cors, status):
    monkeypatch.setenv("KEYGAUGE_SERVICE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("KEYGAUGE_SERVICE_TOKEN", "token-of-the-service-0123456789")
    monkeypatch.setenv("KEYGAUGE_SPOOL_DIR", str(tmp_path))
    headers = {"origin": "https://app.example", "access-control-request-method": "POST"}

    async def visit():
        app = make_app(upstream[0], answers_cors=answers_cors)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api.example.com") as client:
            answer = await client.options("/v1/models", headers=headers)
        await asyncio.to_thread(app._process.stop)
        return answer.status_code

    assert asyncio.run(visit()) == status


def test_upstream_gets_its_own_authorization_not_the_callers(ask, upstream, monkeypatch):
    address, came = upstream
    monkeypatch.setenv("KEYGAUGE_UPSTREAM_AUTHORIZATION", "Bearer of-the-upstream")
    ask(address, headers={"authorization": "Bearer of-the-caller"})
    assert came[0][3]["Authorization"] == "Bearer of-the-upstream"


def test_unreachable_upstream_is_reported(ask):
    answer, counted = ask("http://127.0.0.1:9")
    assert (answer.status_code, answer.json()["code"]) == (502, "upstream_unreachable")
    assert ("/{path}", 502) in counted


def test_caller_that_leaves_during_its_upload_is_no_error(ask, monkeypatch, upstream):
    """The server would log a traceback for each."""
    parts = [{"type": "http.request", "body": b"x", "more_body": True}, {"type": "http.disconnect"}]
    sent = []

    async def receive():
        return parts.pop(0) if len(parts) > 1 else parts[0]

    async def send(message):
        sent.append(message)

    async def handle(transport, request):
        scope = {"type": "http", "method": "POST", "path": "/files/1", "query_string": b"", "root_path": ""}
        headers = [(b"host", b"x"), (b"content-length", b"9")]
        await transport.app({**scope, "headers": headers}, receive, send)
        return httpx.Response(200)

    monkeypatch.setattr(httpx.ASGITransport, "handle_async_request", handle)
    assert ask(upstream[0])[0].status_code == 200
    assert sent == []


def test_missing_settings_are_reported(monkeypatch):
    monkeypatch.delenv("KEYGAUGE_SERVICE_URL", raising=False)
    monkeypatch.delenv("KEYGAUGE_MODE", raising=False)
    with pytest.raises(SettingsError):
        make_app("http://127.0.0.1:9")


@pytest.mark.parametrize(
    "path",
    ["/files/..", "/files/%2e%2e/x", "/files/..%2fx", "/files/..%5cx", "/files/..;/x", "/./x", "/files/.", "/x#y"],
)
def test_paths_that_the_upstream_may_take_for_others_are_refused(answered, path):
    status, came = answered(path)
    assert (status, came) == (400, [])


@pytest.mark.parametrize("path", ["http://192.0.2.1/x", "*"])
def test_targets_of_other_servers_are_not_forwarded(answered, path):
    assert answered(path) == (404, [])


@pytest.mark.parametrize("path", ["/files/..x", "/.env", "/a//b", "/a|b", "/%zz", "/%23", "/x?a=/../b|%00", "/%c3%a4"])
def test_other_paths_are_forwarded_as_they_came(answered, path):
    status, came = answered(path)
    assert (status, came) == (418, ["/base" + path])
