"""WebSockets through the proxy: a real upstream on loopback, the caller in this process."""

import base64
import hashlib
import json
import socket
from contextlib import contextmanager
from queue import Queue
from threading import Thread

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from keygauge.command_line import proxy_websocket
from keygauge.command_line.proxy import make_app

LEFT = Queue()  # codes and reasons with which callers left
OF_APPS = 4000  # the first code that is not the protocol's


async def echo(session):
    offered = session.scope["subprotocols"]
    await session.accept(offered[-1] if offered else None)
    while (message := await session.receive())["type"] != "websocket.disconnect":
        await session.send({**message, "type": "websocket.send"})
    if message["code"] >= OF_APPS:
        LEFT.put((message["code"], message.get("reason")))


async def seen(session):
    await session.accept()
    target = session.scope["raw_path"] + b"?" + session.scope["query_string"]
    await session.send_json({"target": target.decode(), "headers": session.headers.items()})
    await session.close(4001, "done")


async def refused(session):
    await session.close()


async def large(session):
    await session.accept()
    await session.send_bytes(b"x" * 200)
    await session.receive()


APP = Starlette(
    routes=[
        WebSocketRoute("/base/echo", echo),
        WebSocketRoute("/base/seen/{rest:path}", seen),
        WebSocketRoute("/base/refused", refused),
        WebSocketRoute("/base/large", large),
    ]
)


@pytest.fixture(scope="module")
def upstream():
    """Run an upstream; return its address."""
    server = uvicorn.Server(uvicorn.Config(APP, ws="wsproto", log_config=None, lifespan="off"))
    listener = socket.create_server(("127.0.0.1", 0))
    thread = Thread(target=server.run, args=([listener],))
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/base"
    server.should_exit = True
    thread.join()


@pytest.fixture
def proxied(monkeypatch, tmp_path):
    """Return a function that runs the proxy for an upstream and returns a client of it, and its calls by route."""
    monkeypatch.setenv("KEYGAUGE_MODE", "observe")
    monkeypatch.setenv("KEYGAUGE_SPOOL_DIR", str(tmp_path))

    @contextmanager
    def proxied(address):
        app = make_app(address, routes=["/seen/{rest:path}"])
        with TestClient(app) as client:
            client.calls = lambda: [
                (cell.series.route, cell.series.status) for cell in app._process.runtime.aggregator.cells()
            ]
            yield client

    return proxied


def refusal_of(client, path):
    """The status and code of the proxy's refusal."""
    with pytest.raises(WebSocketDenialResponse) as refusal, client.websocket_connect(path):
        pass
    return refusal.value.status_code, refusal.value.json()["code"]


def close_of(session):
    """The code and reason with which the session ends."""
    with pytest.raises(WebSocketDisconnect) as error:
        session.receive_bytes()
    return error.value.code, error.value.reason


def test_messages_pass_both_ways(proxied, upstream):
    with proxied(upstream) as client, client.websocket_connect("/echo") as session:
        session.send_text("h\u00e9llo")
        assert session.receive_text() == "h\u00e9llo"
        session.send_bytes(b"\x00\xff")
        assert session.receive_bytes() == b"\x00\xff"
        session.send_text("x" * 300_000)
        assert session.receive_text() == "x" * 300_000


def test_the_callers_close_reaches_the_upstream(proxied, upstream):
    with proxied(upstream) as client, client.websocket_connect("/echo") as session:
        session.send_text("x")
        session.receive_text()
        session.close(4002, "bye")
        assert LEFT.get(timeout=100) == (4002, "bye")


def test_the_upstreams_close_reaches_the_caller(proxied, upstream):
    with proxied(upstream) as client, client.websocket_connect("/seen/a") as session:
        session.receive_json()
        assert close_of(session) == (4001, "done")


def test_subprotocols_are_negotiated_with_the_upstream(proxied, upstream):
    with proxied(upstream) as client:
        with client.websocket_connect("/echo", subprotocols=["one", "two"]) as session:
            assert session.accepted_subprotocol == "two"
        with client.websocket_connect("/echo") as session:
            assert session.accepted_subprotocol is None


def test_path_and_headers_are_forwarded_and_calls_counted(proxied, upstream, monkeypatch):
    monkeypatch.setenv("KEYGAUGE_UPSTREAM_AUTHORIZATION", "Bearer theirs")
    with proxied(upstream) as client:
        headers = {"Authorization": "Bearer mine", "X-Own": "1"}
        with client.websocket_connect("/seen/a%2Fb?x=%20y", headers=headers) as session:
            told = session.receive_json()
        calls = client.calls()
    headers = dict(told["headers"])
    assert told["target"] == "/base/seen/a%2Fb?x=%20y"
    assert (headers["authorization"], headers["x-own"], headers["x-forwarded-proto"]) == ("Bearer theirs", "1", "http")
    assert headers["sec-websocket-version"] == "13"  # once, of the connection to the upstream
    assert ("/seen/{rest}", 101) in calls


@pytest.mark.parametrize("path", ["/refused", "/nothing"])
def test_the_upstreams_refusal_is_reported(proxied, upstream, path):
    with proxied(upstream) as client:
        assert refusal_of(client, path) == (403, "upstream_refused")


def test_unreachable_upstream_is_reported(proxied):
    with proxied("http://127.0.0.1:1") as client:
        assert refusal_of(client, "/echo") == (502, "upstream_unreachable")


def test_paths_that_lead_elsewhere_are_refused(proxied, upstream):
    with proxied(upstream) as client:
        assert refusal_of(client, "/a/%2e%2e/echo") == (400, "ambiguous_path")


def test_messages_over_the_bound_end_the_session(proxied, upstream, monkeypatch):
    monkeypatch.setattr(proxy_websocket, "MESSAGE_MAX", 100)
    with proxied(upstream) as client, client.websocket_connect("/large") as session:
        assert close_of(session)[0] == 1009


def serve_once(listener, answer):
    with listener.accept()[0] as connection:
        request = connection.recv(65_536).decode()
        key = next(
            line.split(": ")[1] for line in request.split("\r\n") if line.lower().startswith("sec-websocket-key")
        )
        accepted = base64.b64encode(hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest())
        connection.sendall(answer.replace(b"KEY", accepted))


SWITCHED = b"HTTP/1.1 101 x\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: KEY\r\n\r\n"


@pytest.fixture
def raw():
    """Return a function that runs an upstream with a given answer to one handshake; returns its address."""
    listener = socket.create_server(("127.0.0.1", 0))

    def raw(answer):
        Thread(target=serve_once, args=(listener, answer)).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield raw
    listener.close()


@pytest.mark.parametrize("sent", [b"", b"\x81\x7e\x00"], ids=["nothing", "half a message"])
def test_a_broken_off_session_ends_with_a_code(proxied, raw, sent):
    with proxied(raw(SWITCHED + sent)) as client, client.websocket_connect("/v1/realtime") as session:
        assert close_of(session)[0] == 1014


def test_messages_that_come_with_the_handshake_are_passed_on(proxied, raw):
    event = json.dumps({"type": "session.created"}).encode()
    address = raw(SWITCHED + b"\x81" + bytes([len(event)]) + event)
    with proxied(address) as client, client.websocket_connect("/v1/realtime") as session:
        assert session.receive_json() == {"type": "session.created"}


@pytest.mark.parametrize("answer", [b"", b"no HTTP\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"])
def test_an_answer_that_is_no_handshake_is_reported(proxied, raw, answer):
    with proxied(raw(answer)) as client:
        assert refusal_of(client, "/v1/realtime")[0] == 502
