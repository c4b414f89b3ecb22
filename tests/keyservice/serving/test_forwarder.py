import logging
import re
import socket
import struct
import threading
import time

import pytest
import uvicorn

from keygauge_keyservice.serving.bodies import Bodies
from keygauge_keyservice.serving.connection import protocol
from keygauge_keyservice.serving.forwarder import Forwarded, Forwarder

SECONDS = 5  # far less than the 10 s timeout for a request that never arrives
LONG = 60_000


async def page(scope, receive, send):
    """Answer with what arrived, with a head as long as the request's query."""
    scope["client"] = tuple(scope["client"] or ()) or None  # for uvicorn's access log, which the key service disables
    headers = [(b"location", scope["query_string"]), (b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    told = repr([scope["client"], *((name, value) for name, value in scope["headers"] if name != b"host")])
    await send({"type": "http.response.body", "body": told.encode()})


@pytest.fixture(scope="module")
def front(tmp_path_factory):
    """Yield the port of a server that forwards everything to another one over a Unix socket, like `keygauge serve`."""
    path = str(tmp_path_factory.mktemp("s") / "pages")
    inside, outside = socket.socket(socket.AF_UNIX), socket.socket()
    inside.bind(path)
    outside.bind(("127.0.0.1", 0))
    options = {"http": protocol(), "lifespan": "off", "proxy_headers": False, "log_config": None, "access_log": False}
    servers = [
        uvicorn.Server(uvicorn.Config(app, **options)) for app in (Forwarded(Bodies(page)), Bodies(Forwarder(path)))
    ]
    pairs = zip(servers, (inside, outside), strict=True)
    threads = [threading.Thread(target=server.run, args=([listener],)) for server, listener in pairs]
    for thread in threads:
        thread.start()
    while not all(server.started for server in servers):
        assert all(thread.is_alive() for thread in threads)
    yield outside.getsockname()[1]
    for server in servers:
        server.should_exit = True
    for thread in threads:
        thread.join()


def ask(port, head, body=b""):
    """Send a raw request; return the status, and the head and body together."""
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as client:
        client.sendall(head.encode("latin-1") + b"\r\nConnection: close\r\n\r\n" + body)
        answer = b"".join(iter(lambda: client.recv(1 << 16), b"")).decode("latin-1")
    return int(re.match(r"HTTP/1.1 (\d+)", answer)[1]), answer


@pytest.mark.parametrize("value", ["a ", "a\t", " a  \t", "a; b; "])
def test_space_around_a_header_value_is_removed(front, value):
    status, answer = ask(front, f"GET / HTTP/1.1\r\nHost: x\r\nCookie:{value}")
    assert status == 200
    assert f"(b'cookie', {value.strip().encode()!r})" in answer


@pytest.mark.parametrize(
    "head",
    [
        "GET / HTTP/1.1",
        "GET / HTTP/1.0",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked",
    ],
    ids=["no host", "no host in HTTP/1.0", "two hosts", "an encoding besides chunked"],
)
def test_requests_that_cannot_be_forwarded_are_refused_at_once(front, head):
    status, answer = ask(front, head, b"0\r\n\r\n" if "chunked" in head else b"")
    assert status == 400
    assert '"code": "bad_request"' in answer


def test_an_answer_may_have_a_head_as_long_as_a_request(front):
    status, answer = ask(front, f"GET /?{'q' * LONG} HTTP/1.1\r\nHost: x")
    assert status == 200
    assert "q" * LONG in answer


def test_clients_cannot_forge_the_client_header(front):
    told = '{"client": ["192.0.2.66", 1], "server": ["evil", 80], "scheme": "https"}'
    status, answer = ask(front, f"GET / HTTP/1.1\r\nHost: x\r\nX-KeyGauge-Client: {told}")
    assert status == 200
    assert "192.0.2.66" not in answer
    assert "127.0.0.1" in answer


def test_clients_that_leave_with_unread_answers_log_nothing(front, caplog):
    for _ in range(10):
        with socket.create_connection(("127.0.0.1", front), timeout=SECONDS) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close with a reset
            client.sendall((b"GET /?" + b"x" * LONG + b" HTTP/1.1\r\nHost: x\r\n\r\n") * 20)
    assert ask(front, "GET / HTTP/1.1\r\nHost: x")[0] == 200
    time.sleep(0.2)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
