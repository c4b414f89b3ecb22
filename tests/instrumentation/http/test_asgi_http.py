"""The ASGI driver: what it passes to the request, and that messages pass unchanged."""

import asyncio
from contextlib import suppress
from functools import partial

import pytest

from keygauge.asgi import KeyGaugeMiddleware
from keygauge.http.asgi_http import header_of

START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}
PART = {"type": "http.response.body", "body": b"part", "more_body": True}
END = {"type": "http.response.body", "body": b""}
SENT = {"type": "http.request", "body": b"sent", "more_body": False}
GONE = {"type": "http.disconnect"}


@pytest.fixture
def serve(tmp_path):
    """Serve one request with an app; return the call and the messages that reached the server."""
    made = []

    def serve(app, *, kind="http", inbox=(SENT,), refusing=None, **scope):
        middleware = KeyGaugeMiddleware(app, mode="observe", spool_dir=tmp_path)
        made.append(middleware)
        sent, inbox = [], list(inbox)

        async def receive():
            return inbox.pop(0)

        async def send(message):
            if message["type"] == refusing:
                raise OSError
            sent.append(message)

        scope = {"type": kind, "method": "POST", "path": "/x", "headers": [], "client": None, **scope}
        with suppress(OSError):
            asyncio.run(middleware(scope, receive, send))
        return scope["keygauge"], sent

    yield serve
    for middleware in made:
        middleware._process.stop()


def sending(*messages, reads=0):
    async def app(scope, receive, send):
        for _ in range(reads):
            await receive()
        for message in messages:
            await send(message)

    return app


def test_messages_pass_unchanged_and_are_counted(serve):
    call, sent = serve(sending(START, PART, END, reads=1))
    assert sent == [START, PART, END]
    assert (call.status, call.error, call.request_bytes, call.response_bytes) == (200, None, 4, 4)


@pytest.mark.parametrize("headers", [START["headers"], tuple(START["headers"]), iter(START["headers"])])
def test_header_fields_may_be_any_iterable(serve, headers):
    call, sent = serve(sending({**START, "headers": headers}, END))
    assert list(sent[0]["headers"]) == START["headers"]
    assert call.error is None


def test_body_before_the_start_is_not_an_answer(serve):
    call, sent = serve(sending(PART, END))
    assert sent == [PART, END]
    assert (call.status, call.error, call.response_bytes) == (500, "incomplete_response", 0)


def test_trailers_end_the_answer(serve):
    trailers = {"type": "http.response.trailers", "headers": [(b"X-Late", b"1")]}
    call, _ = serve(sending({**START, "trailers": True}, PART, END, {**trailers, "more_trailers": True}))
    assert call.error == "incomplete_response"
    call, _ = serve(sending({**START, "trailers": True}, PART, END, trailers))
    assert (call.error, call.response_bytes) == (None, 4)


def test_unsent_chunks_are_not_counted(serve):
    call, sent = serve(sending(START, PART, END), refusing="http.response.body")
    assert sent == [START]
    assert (call.status, call.error, call.response_bytes) == (200, "client_disconnected", 0)


def test_client_that_left_before_the_answer_determines_the_status(serve):
    call, _ = serve(sending(START, PART, END, reads=2), inbox=(SENT, GONE))
    assert (call.status, call.error) == (499, "client_disconnected")


@pytest.mark.parametrize(
    ("messages", "told"),
    [
        ([{"type": "websocket.accept"}, {"type": "websocket.send", "text": "hä"}], (101, None, 3)),
        ([{"type": "websocket.accept"}, {"type": "websocket.close", "code": 1011}], (500, "websocket_1011", 0)),
        ([{"type": "websocket.close", "code": 1000}], (403, None, 0)),
    ],
)
def test_session_is_one_call(serve, messages, told):
    call, sent = serve(sending(*messages), kind="websocket", inbox=())
    assert sent == messages
    assert (call.status, call.error if call.error != str(call.status) else None, call.response_bytes) == told


def test_repeated_header_is_returned_with_all_values():
    scope = {"headers": [(b"a", b"1"), (b"b", b"2"), (b"a", b"3")]}
    assert [header_of(scope, name) for name in ("a", "b", "c")] == ["1, 3", "2", ""]


class Connection:
    """The server's object for a request, like uvicorn's."""

    disconnected = False

    async def send(self, message):
        pass


class Transport:
    """A transport like asyncio's, whose connection breaks once some messages were written."""

    def __init__(self, *, lasts, waiting):
        self.lasts, self.waiting = lasts, waiting

    def is_closing(self):
        return self.lasts <= 0

    def get_write_buffer_size(self):
        return self.waiting


class Server(Connection):
    """A server that does not notice that the client left before the app awaits something."""

    def __init__(self, transport):
        self.transport = transport

    async def send(self, message):
        self.transport.lasts -= 1


@pytest.mark.parametrize(
    ("waiting", "told"),
    [
        (0, (200, "client_disconnected", 8)),
        (5, (200, None, 40)),  # the client closed its sending side, and still receives
    ],
)
def test_client_that_left_is_noticed_though_the_app_never_pauses(tmp_path, waiting, told):
    async def app(scope, receive, send):
        await send(START)
        for _ in range(10):
            await send(PART)
        await send(END)

    middleware = KeyGaugeMiddleware(app, mode="observe", spool_dir=tmp_path)
    scope = {"type": "http", "method": "GET", "path": "/x", "headers": [], "client": None}
    server = Server(Transport(lasts=3, waiting=waiting))
    asyncio.run(middleware(scope, None, server.send))
    middleware._process.stop()
    call = scope["keygauge"]
    assert (call.status, call.error, call.response_bytes) == told


@pytest.mark.parametrize(
    ("leaves", "starts", "told"),
    [
        (False, False, (500, "CancelledError")),
        (False, True, (500, "CancelledError")),
        (True, False, (499, "client_disconnected")),
        (True, True, (200, "client_disconnected")),
    ],
)
@pytest.mark.parametrize("server", ["uvicorn", "daphne"])
def test_cancelled_request_is_the_servers_doing_unless_the_client_left(tmp_path, server, leaves, starts, told):
    async def app(scope, receive, send):
        if starts:
            await send(START)
        begun.set()
        await asyncio.Event().wait()

    async def run():
        inbox, connection = asyncio.Queue(), Connection()
        send = connection.send if server == "uvicorn" else partial(Connection.send, connection)
        await inbox.put(SENT)
        task = asyncio.create_task(middleware(scope, inbox.get, send))
        await begun.wait()
        if leaves:
            connection.disconnected = True
            await inbox.put(GONE)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        left = [SENT, GONE] if leaves else [SENT]
        assert [inbox.get_nowait() for _ in range(inbox.qsize())] == left  # the server's messages stay in its queue

    begun = asyncio.Event()
    middleware = KeyGaugeMiddleware(app, mode="observe", spool_dir=tmp_path)
    scope = {"type": "http", "method": "POST", "path": "/x", "headers": [], "client": None}
    asyncio.run(run())
    middleware._process.stop()
    assert (scope["keygauge"].status, scope["keygauge"].error) == told
