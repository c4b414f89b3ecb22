"""Bodies that are read ahead: as far as needed, and then given to the app unchanged."""

import io
import json

import pytest

from keygauge.http.request_body import RequestBody, estimate_input
from keygauge.limits.request_fields import BODY_BYTES_MAX


def make_environ(body):
    return {"PATH_INFO": "/v1/chat/completions", "wsgi.input": io.BytesIO(body), "wsgi.input_terminated": True}


def test_a_body_in_chunks_tells_its_cap_and_model():
    body = json.dumps({"model": "gpt-4o-mini", "max_tokens": 5}).encode()
    environ = make_environ(body)
    told = estimate_input(environ, path="/v1/chat/completions")
    assert (told.model, told.output_tokens, told.input_tokens) == ("gpt-4o-mini", 5, -(-len(body) // 4))
    assert environ["wsgi.input"].read() == body


@pytest.mark.parametrize("size", [0, 1, BODY_BYTES_MAX, BODY_BYTES_MAX + 1, BODY_BYTES_MAX + 2, 3 * BODY_BYTES_MAX])
@pytest.mark.parametrize("read", [lambda body: body.read(), b"".join, lambda body: body.readline()])
def test_the_app_reads_all_of_it(size, read):
    body = (b"0123456789abcde\n" * (size // 16 + 1))[:size]
    environ = make_environ(body)
    told = estimate_input(environ, path="/x")
    assert told.input_tokens == -(-min(size, BODY_BYTES_MAX + 1) // 4)
    assert read(environ["wsgi.input"]) == read(io.BytesIO(body))


BODY = json.dumps({"model": "gpt-4o-mini"}).encode()


@pytest.mark.parametrize(
    "environ",
    [
        {"CONTENT_LENGTH": "0", "HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True},  # gunicorn
        {"HTTP_TRANSFER_ENCODING": "chunked"},  # hypercorn
        {},  # the same over HTTP/2
        {"CONTENT_LENGTH": "3"},
        {"CONTENT_LENGTH": str(len(BODY)), "CONTENT_TYPE": "text/plain"},
    ],
)
def test_a_body_is_read_as_far_as_the_app_may_read_it(environ):
    environ = {**environ, "wsgi.input": io.BytesIO(BODY)}
    assert estimate_input(environ, path="/x").named == ("gpt-4o-mini",)
    assert environ["wsgi.input"].read() == BODY


def test_chunks_that_cannot_be_read_ahead_may_name_any_model():
    environ = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input": io.BufferedReader(io.BytesIO(BODY))}
    told = estimate_input(environ, path="/x")
    assert (told.unread, told.models) == (True, None)
    assert environ["wsgi.input"].read() == BODY


@pytest.mark.parametrize(("length", "waits"), [(BODY_BYTES_MAX + 1, True), (7, False)])
def test_a_body_that_is_the_apps_to_ask_for_is_left_to_it(length, waits):
    environ = {"CONTENT_LENGTH": str(length), "HTTP_EXPECT": "100-Continue", "wsgi.input": None}
    assert estimate_input(environ, path="/x", waits=waits).unread


@pytest.mark.parametrize(("length", "waits"), [(BODY_BYTES_MAX + 1, True), (7, False), (None, False)])
async def test_a_message_that_is_the_apps_to_ask_for_is_left_to_it(length, waits):
    async def receive():
        raise AssertionError

    headers = [(b"expect", b"100-continue")] + ([(b"content-length", b"%d" % length)] if length else [])
    told = await RequestBody(receive).estimate(headers, waits=waits, path="/x")
    assert (told.unread, told.input_tokens) == (True, -(-(length or BODY_BYTES_MAX + 1) // 4))


async def test_a_message_that_is_needed_is_asked_for():
    async def receive():
        return {"type": "http.request", "body": BODY, "more_body": False}

    body = RequestBody(receive)
    headers = [(b"expect", b"100-continue"), (b"content-length", b"%d" % len(BODY))]
    assert (await body.estimate(headers, waits=True, path="/x")).named == ("gpt-4o-mini",)
    assert (await body.receive())["body"] == BODY
