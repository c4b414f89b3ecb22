import asyncio
import io
import json
import threading

import pytest

from keygauge_keyservice.serving.bridge import Bridge


@pytest.fixture
def visit():
    """Return `visit(app)`, which sends one request through a bridge and returns the messages of the answer."""

    async def visit(app, *, bridge=None, body=b"", leaves=False):
        sent = []
        began = asyncio.Event()

        async def send(message):
            sent.append(message)
            began.set()

        async def receive():
            await (began if leaves else asyncio.Event()).wait()
            return {"type": "http.disconnect"}

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/a",
            "raw_path": b"/a",
            "query_string": b"q=1",
            "body": io.BytesIO(body),
        }
        scope |= {"headers": [(b"host", b"h")], "client": ("192.0.2.1", 1), "server": ("h", 80), "scheme": "http"}
        scope |= {"http_version": "1.1", "root_path": ""}
        await (bridge or Bridge(app, threads=1, queue=1))(scope, receive, send)
        return sent

    return visit


def content(sent):
    assert not sent[-1]["more_body"]
    return b"".join(message["body"] for message in sent[1:])


async def test_an_answer_with_a_length_is_generated_at_once(visit):
    def app(environ, start_response):
        body = environ["wsgi.input"].read() + environ["QUERY_STRING"].encode()
        start_response("201 Created", [("Content-Length", str(len(body)))])
        return [body]

    sent = await visit(app, body=b"x" * 200_000)
    assert sent[0]["status"] == 201
    assert content(sent) == b"x" * 200_000 + b"q=1"
    assert max(len(message["body"]) for message in sent[1:]) <= 64 << 10


async def test_an_answer_without_a_length_is_generated_piece_by_piece_and_closed(visit):
    closed = threading.Event()

    def app(environ, start_response):
        start_response("200 OK", [])
        try:
            yield from (b"a" * 50_000 for _ in range(4))
        finally:
            closed.set()

    assert content(await visit(app)) == b"a" * 200_000
    assert closed.is_set()


async def test_the_rest_is_not_generated_once_the_client_has_left(visit):
    made = []

    def app(environ, start_response):
        start_response("200 OK", [])
        for number in range(1000):
            made.append(number)
            yield b"a" * (64 << 10)

    await visit(app, leaves=True)
    assert 0 < len(made) < 1000


async def test_requests_beyond_the_queue_are_refused(visit):
    entered, leave = threading.Event(), threading.Event()

    def app(environ, start_response):
        entered.set()
        leave.wait(100)
        start_response("200 OK", [("Content-Length", "0")])
        return []

    bridge = Bridge(app, threads=1, queue=0)
    first = asyncio.ensure_future(visit(app, bridge=bridge))
    await asyncio.get_running_loop().run_in_executor(None, entered.wait, 100)
    sent = await visit(app, bridge=bridge)
    leave.set()
    assert sent[0]["status"] == 503
    assert json.loads(sent[1]["body"])["code"] == "busy"
    assert (await first)[0]["status"] == 200
