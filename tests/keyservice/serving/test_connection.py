import logging
import socket
import time
from threading import Event, Thread
from typing import NamedTuple

import pytest
import uvicorn

from keygauge_keyservice.serving import connection
from keygauge_keyservice.serving.bodies import Bodies
from keygauge_keyservice.serving.bridge import Bridge

UPGRADE = b"Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
LARGE = b"x" * (8 << 20)

seen = []
may_go_on = Event()


def app(environ, start_response):
    seen.append(environ["QUERY_STRING"])
    body = environ["wsgi.input"].read()
    if environ["PATH_INFO"] == "/slow":
        may_go_on.wait(100)
    if environ["PATH_INFO"] == "/stream":
        start_response("200 OK", [])
        return (LARGE[:70_000] for _ in range(150))
    answers = {"/large": LARGE, "/fields": str(environ).encode()}
    answer = answers.get(environ["PATH_INFO"], b"%d" % len(body))
    start_response("200 OK", [("Content-Length", str(len(answer)))])
    return [answer]


class Served(NamedTuple):
    address: tuple
    connections: set


@pytest.fixture
def served(monkeypatch):
    """Start a server with short timeouts; return its address and connections."""
    monkeypatch.setattr(connection, "HEAD_S", 0.3)
    monkeypatch.setattr(connection, "BODY_S", 0.6)
    monkeypatch.setattr(connection, "WRITE_S", 0.5)
    options = uvicorn.Config(
        Bodies(Bridge(app, threads=1, queue=4)),
        http=connection.protocol(connections_max=8),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_keep_alive=1,
    )
    server = uvicorn.Server(options)
    listener = socket.create_server(("127.0.0.1", 0))
    thread = Thread(target=server.run, args=([listener],))
    seen.clear()
    may_go_on.clear()
    thread.start()
    yield Served(listener.getsockname(), server.server_state.connections)
    server.should_exit = True
    thread.join()


@pytest.fixture
def client(served):
    with socket.create_connection(served.address, timeout=100) as client:
        yield client


@pytest.mark.parametrize(
    "sent", [b"", b"\r\n", b"GET / HTTP/1.1\r\nA: b", b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n1"]
)
def test_an_unfinished_request_times_out(client, sent):
    client.sendall(sent)
    assert read_all(client).startswith((b"HTTP/1.1 408", b""))


def test_a_stalled_body_times_out(client, monkeypatch):
    monkeypatch.setattr(connection, "BODY_S", 1000)
    monkeypatch.setattr(connection, "BODY_IDLE_S", 0.3)
    client.sendall(b"POST / HTTP/1.1\r\nContent-Length: 9000\r\n\r\n" + b"1" * 5_000)
    assert read_all(client).startswith((b"HTTP/1.1 408", b""))


def test_a_slow_body_is_accepted(client, monkeypatch):
    monkeypatch.setattr(connection, "BODY_S", 0.1)
    monkeypatch.setattr(connection, "BODY_BYTES_PER_S", 50)
    client.sendall(b"POST / HTTP/1.1\r\nContent-Length: 9000\r\nConnection: close\r\n\r\n" + b"1" * 5_000)
    time.sleep(0.5)
    client.sendall(b"1" * 4_000)
    assert read_all(client).endswith(b"\r\n\r\n9000")


def test_a_body_below_the_minimum_rate_times_out(client, monkeypatch):
    monkeypatch.setattr(connection, "BODY_BYTES_PER_S", 1_000_000)
    client.settimeout(0.05)
    client.sendall(b"POST / HTTP/1.1\r\nContent-Length: 900000\r\n\r\n1")
    until = time.monotonic() + 100
    while time.monotonic() < until:
        try:
            client.sendall(b"1")
            assert not client.recv(1000)
        except TimeoutError:
            continue
        except OSError:
            break
        else:
            break
    assert time.monotonic() < until


CHUNKED = b"POST /%s HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "endless",
    [b"0\r\n%b" % (b"a: b\r\n" * 30_000), b"0\r\na: %b" % LARGE, b"1;a=%b" % LARGE],
    ids=["many trailers", "a long trailer", "a long extension"],
)
def test_the_framing_of_a_body_is_bounded(client, monkeypatch, endless):
    monkeypatch.setattr(connection, "BODY_S", 100)
    try:
        client.sendall(CHUNKED % b"" + endless)
        answer = read_all(client)
    except ConnectionError:  # closed during sending
        answer = b""
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400")


def test_a_body_of_small_chunks_is_accepted(client):
    chunks = b"40\r\n%b\r\n" % (b"a" * 64) * 10_000 + b"1\r\na\r\n" * connection.CHUNKS_MAX
    client.sendall(CHUNKED % b"" + chunks + b"0\r\na: b\r\n\r\n")
    assert read_all(client).endswith(b"\r\n\r\n%d" % (640_000 + connection.CHUNKS_MAX))


@pytest.mark.parametrize(
    "costly",
    [
        CHUNKED % b"?a" + b"1\r\na\r\n" * 10_000 + b"0\r\n\r\n",
        CHUNKED % b"?a" + b"0\r\n" + b"a:\r\n" * 1_000 + b"\r\n",
        b"GET /?a HTTP/1.1\r\n" + b"a:\r\n" * 1_000 + b"\r\n",
        b"GET /%b?a HTTP/1.1\r\n\r\n" % (b"%2e/" * 10_000),
    ],
    ids=["chunks", "trailers", "fields", "path"],
)
def test_requests_of_very_many_parts_are_refused(client, costly):
    client.sendall(costly)
    assert read_all(client).startswith((b"HTTP/1.1 400", b""))
    assert not seen


def test_a_long_path_and_a_longer_query_are_accepted(client):
    client.sendall(b"GET /%b?%b HTTP/1.1\r\nConnection: close\r\n\r\n" % (b"a" * 4_000, b"b" * 60_000))
    assert read_all(client).endswith(b"\r\n\r\n0")


def test_a_trailer_is_not_a_header(client):
    client.sendall(CHUNKED % b"fields" + b"0\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n")
    answer = read_all(client)
    assert b"wsgi.input" in answer
    assert b"192.0.2.1" not in answer


@pytest.mark.parametrize(("sent", "status"), [(b"no HTTP\r\n\r\n", 400), (b"GET / HTTP/1.1\r\n" + UPGRADE, 200)])
def test_malformed_requests_do_not_fill_the_log(client, caplog, monkeypatch, sent, status):
    connection._log.setLevel(logging.NOTSET)  # as `dictConfig` does for uvicorn's loggers
    for name in ("uvicorn", "uvicorn.error"):
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)
    connection._log.error("an error")
    client.sendall(sent)
    assert client.recv(100).startswith(b"HTTP/1.1 %d" % status)
    assert {record.message for record in caplog.records if record.name == connection._log.name} == {"an error"}


def test_a_trickling_head_gets_no_more_time(client):
    client.settimeout(0.1)
    client.sendall(b"GET / HTTP/1.1\r\n")
    received = b""
    for _ in range(20):
        try:
            client.sendall(b"a: b\r\n")
            received += client.recv(1000)
        except TimeoutError:
            continue
        except OSError:
            break
    assert received.startswith(b"HTTP/1.1 408")


def test_the_size_of_a_head_is_bounded(client):
    client.sendall(b"GET / HTTP/1.1\r\n" + b"a: %b\r\n" % (b"b" * 1_000) * 70)
    assert read_all(client).startswith(b"HTTP/1.1 431")


def test_pipelined_requests_are_answered_in_order(client):
    last = b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n"
    client.sendall(b"POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx" * (connection.PIPELINED_MAX - 1) + last)
    answer = read_all(client)
    assert answer.count(b"HTTP/1.1 200") == connection.PIPELINED_MAX
    assert answer.endswith(b"\r\n\r\n0")


def test_the_number_of_pipelined_requests_is_bounded(client):
    client.sendall(b"GET /slow HTTP/1.1\r\n\r\n" + b"GET /?b HTTP/1.1\r\n\r\n" * 2_000)
    assert read_all(client).startswith(b"HTTP/1.1 400")
    may_go_on.set()


def test_a_client_that_leaves_pipelined_requests_is_not_logged(served, caplog):
    with socket.create_connection(served.address, timeout=100) as client:
        client.sendall(b"GET /slow?a HTTP/1.1\r\n\r\nGET /?b HTTP/1.1\r\n\r\n")
        wait_until(lambda: seen)
    wait_until(lambda: not served.connections)
    may_go_on.set()
    assert answered(served.address, path="/?c") == b"0"
    assert seen == ["a", "c"]
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize("path", ["/large", "/stream"])
def test_a_client_that_does_not_read_is_dropped(served, path):
    with reading_little(served, path) as client:
        wait_until(lambda: len(served.connections) == 1)
        assert answered(served.address) == b"0"  # the only thread is free
        wait_until(lambda: not served.connections)
        assert len(read_all(client)) < len(LARGE)


def test_clients_that_read_slowly_block_no_thread(served, monkeypatch):
    monkeypatch.setattr(connection, "WRITE_S", 100)
    slow = [reading_little(served, "/stream") for _ in range(4)]
    for _ in range(3):
        for client in slow:
            assert client.recv(4096)
        assert answered(served.address) == b"0"
    for client in slow:
        client.close()


def test_a_stream_arrives_completely(served, monkeypatch):
    monkeypatch.setattr(connection, "WRITE_S", 100)
    answer = answered(served.address, b"\r\n", path="/stream")
    assert answer.count(b"x") == 150 * 70_000


def test_the_longest_waiting_connections_are_closed_if_there_are_too_many(served):
    waiting = [socket.create_connection(served.address, timeout=100) for _ in range(8)]
    assert answered(served.address) == b"0"
    assert read_all(waiting[0]) == b""
    for client in waiting:
        client.close()


def test_a_body_arrives_completely_in_any_encoding(served):
    body = b"y" * 200_000
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:70_000], body[70_000:])) + b"0\r\n\r\n"
    assert answered(served.address, b"Content-Length: 200000\r\n\r\n" + body) == b"200000"
    assert answered(served.address, b"Transfer-Encoding: chunked\r\n\r\n" + chunks) == b"200000"


def test_a_client_that_left_before_its_request_was_read_is_not_served(served, monkeypatch):
    made = connection.Connection.connection_made

    def late(self, transport):
        time.sleep(0.3)  # in the meantime, both clients send everything and leave
        made(self, transport)

    monkeypatch.setattr(connection.Connection, "connection_made", late)
    with asking(served.address, "/?a"), asking(served.address, "/?b", method="POST"):
        pass
    monkeypatch.undo()
    assert answered(served.address, path="/?c") == b"0"
    assert seen == ["c"]


def test_a_client_that_left_while_waiting_for_a_thread_is_not_served(served):
    with asking(served.address, "/slow?a") as first:
        wait_until(lambda: seen)
        with asking(served.address, "/?b"):
            wait_until(lambda: len(served.connections) == 2)
        wait_until(lambda: len(served.connections) == 1)
        may_go_on.set()
        assert read_all(first).endswith(b"0")
    assert answered(served.address, path="/?c") == b"0"
    assert seen == ["a", "c"]


def wait_until(holds):
    until = time.monotonic() + 100
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.01)


def reading_little(served, path):
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(100)
    client.connect(served.address)
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return client


def asking(address, path, *, method="GET", rest=b"\r\n"):
    client = socket.create_connection(address, timeout=100)
    client.sendall(f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n".encode() + rest)
    return client


def answered(address, rest=b"\r\n", path="/"):
    with asking(address, path, method="POST", rest=rest) as client:
        return read_all(client).partition(b"\r\n\r\n")[2]


def read_all(client):
    received = bytearray()
    try:
        while data := client.recv(1 << 16):
            received += data
    except ConnectionResetError:
        pass
    return bytes(received)
