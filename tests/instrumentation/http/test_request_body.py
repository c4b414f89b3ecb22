"""Bodies that are read ahead as far as needed, then passed to the app unchanged."""

import io
import json

import pytest

from keygauge.http.request_body import Empty, RequestBody, read_input
from keygauge.limits.reading.request_fields import BODY_BYTES_MAX


@pytest.mark.parametrize("size", [0, 1, BODY_BYTES_MAX, BODY_BYTES_MAX + 1, BODY_BYTES_MAX + 2, 3 * BODY_BYTES_MAX])
@pytest.mark.parametrize("read", [lambda body: body.read(), b"".join, lambda body: body.readline()])
def test_app_reads_the_whole_body(size, read):
    body = (b"0123456789abcde\n" * (size // 16 + 1))[:size]
    environ = {"wsgi.input": io.BytesIO(body), "wsgi.input_terminated": True}
    known = body[: BODY_BYTES_MAX + 1]
    assert read_input(environ, 0) == (known, len(known))
    assert read(environ["wsgi.input"]) == read(io.BytesIO(body))


BODY = json.dumps({"model": "gpt-4o-mini"}).encode()


@pytest.mark.parametrize(
    "environ",
    [
        {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True},  # gunicorn
        {"HTTP_TRANSFER_ENCODING": "chunked"},  # hypercorn
        {},  # hypercorn over HTTP/2
    ],
)
@pytest.mark.parametrize("length", [0, 3, len(BODY)])
def test_body_is_read_as_far_as_the_app_may_read(environ, length):
    environ = {**environ, "wsgi.input": io.BytesIO(BODY)}
    assert read_input(environ, length) == (BODY, len(BODY))
    assert environ["wsgi.input"].read() == BODY


def test_unterminated_stream_is_read_up_to_its_length():
    environ = {"wsgi.input": io.BufferedReader(io.BytesIO(BODY))}
    assert read_input(environ, 3) == (BODY[:3], 3)
    assert environ["wsgi.input"].read() == BODY[:3]


def test_chunked_body_that_cannot_be_read_ahead_may_have_any_length():
    environ = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input": io.BufferedReader(io.BytesIO(BODY))}
    assert read_input(environ, 0) == (b"", BODY_BYTES_MAX + 1)
    assert environ["wsgi.input"].read() == BODY


def receiving(*messages):
    inbox = list(messages)

    async def receive():
        return inbox.pop(0)

    return receive


def part(body, *, more):
    return {"type": "http.request", "body": body, "more_body": more}


@pytest.mark.parametrize(
    ("messages", "declared", "told"),
    [
        ([part(BODY, more=False)], 0, (BODY, len(BODY))),
        ([part(BODY, more=True), part(b"", more=False)], len(BODY), (BODY, len(BODY))),
        ([part(b"x" * BODY_BYTES_MAX, more=True), part(b"yz", more=True)], 0, BODY_BYTES_MAX + 2),
        ([part(BODY, more=True), {"type": "http.disconnect"}], 999, (BODY, len(BODY))),
    ],
)
async def test_messages_are_read_up_to_a_limit_and_passed_on(messages, declared, told):
    body = RequestBody(receiving(*messages, part(b"rest", more=False)))
    read, length = await body.read_ahead(declared)
    assert told in ((read, length), length)
    assert [await body.receive() for _ in messages] == messages
    assert (await body.receive())["body"] == b"rest"


async def test_empty_body_ignores_what_the_client_sends():
    gone = {"type": "http.disconnect"}
    body = Empty(receiving(part(BODY, more=True), part(BODY, more=False), gone))
    assert await body.receive() == part(b"", more=False)
    assert await body.receive() == gone
