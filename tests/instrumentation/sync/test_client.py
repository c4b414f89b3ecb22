"""All failures between the middleware and the key service raise `ServiceError`, which reveals no secret."""

import socketserver
import threading

import pytest

from keygauge.sync.client import ServiceClient, ServiceError


@pytest.fixture
def serve():
    """Start a server that sends some bytes to one connection; return its address."""
    started = []

    def serve(text):
        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                self.request.recv(10_000)
                self.request.sendall(text)

        server = socketserver.TCPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        started.append((server, thread))
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield serve
    for server, thread in started:
        thread.join()
        server.server_close()


def answer_of(body):
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def test_an_answer_is_read(serve):
    client = ServiceClient(serve(answer_of(b'{"a": 1}')), "t", timeout_s=100)
    assert client.post("/", b"", "text/plain") == {"a": 1}
    client.close()


@pytest.mark.parametrize(
    "text",
    [b"220 mail\r\n", b"", answer_of(b"[]"), answer_of(b"\xff"), answer_of(b"[" * 200_000), answer_of(b"9" * 5_000)],
)
def test_an_invalid_answer_is_an_error(serve, text):
    client = ServiceClient(serve(text), "t", timeout_s=100)
    with pytest.raises(ServiceError):
        client.post("/", b"", "text/plain")
    client.close()


@pytest.mark.parametrize("token", ["sesame\n", "sesame→"])
def test_a_token_that_cannot_be_sent_is_an_error_that_does_not_reveal_it(token):
    with pytest.raises(ServiceError) as caught:
        ServiceClient("http://127.0.0.1:1", token, timeout_s=1).post("/", b"", "text/plain")
    assert "sesame" not in str(caught.value)


def test_an_invalid_host_name_is_an_error():
    with pytest.raises(ServiceError):
        ServiceClient("http://" + "a" * 70 + ".example:1", "t", timeout_s=1).post("/", b"", "text/plain")
