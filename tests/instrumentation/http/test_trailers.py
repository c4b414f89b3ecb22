import socket
import threading
import time

import pytest
import uvicorn

from keygauge.http import trailers

FIELDS = b"Host: a\r\nX-Forwarded-For: 192.0.2.1\r\nTransfer-Encoding: chunked\r\nConnection: close"
HEAD = b"POST / HTTP/1.1\r\n%b\r\n\r\n" % FIELDS
BODY = b"1\r\na\r\n0\r\nX-Forwarded-For: 192.0.2.2\r\n\r\n"


async def app(scope, receive, send):
    """Answer with the request's headers as seen after the whole body."""
    while (await receive()).get("more_body"):
        pass
    told = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"told: " + told})


@pytest.fixture
def server():
    config = uvicorn.Config(app, http="httptools", lifespan="off", log_config=None, proxy_headers=False)
    config.load()  # like a server before it imports its app
    trailers.drop()
    trailers.drop()
    server, listener = uvicorn.Server(config), socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    server.address = listener.getsockname()
    yield server
    server.should_exit = True
    thread.join()


@pytest.mark.parametrize("parts", [[HEAD + BODY], [HEAD, BODY]])
def test_trailers_are_not_headers(server, parts):
    with socket.create_connection(server.address, timeout=60) as client:
        for part in parts:
            client.sendall(part)
        answer = b"".join(iter(lambda: client.recv(4096), b""))
    assert b"told: 192.0.2.1\r\n" in answer


def test_endless_trailers_are_not_kept(server):
    with socket.create_connection(server.address, timeout=60) as client:
        client.sendall(HEAD + b"1\r\na\r\n0\r\n")
        while not (connections := list(server.server_state.connections)):
            time.sleep(0.01)
        client.sendall(b"a: b\r\n" * 50_000 + b"\r\n")
        assert client.recv(4096)
    assert len(connections[0].headers) == 4
