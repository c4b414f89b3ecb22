"""WSGI bodies without a declared length: read as far as needed, and then given to the app unchanged."""

import io
import json

import pytest

from keygauge.http.request_body import estimate_input
from keygauge.limits.estimate import BODY_BYTES_MAX


def make_environ(body):
    return {"PATH_INFO": "/v1/chat/completions", "wsgi.input": io.BytesIO(body), "wsgi.input_terminated": True}


def test_a_body_in_chunks_tells_its_cap_and_model():
    body = json.dumps({"model": "gpt-4o-mini", "max_tokens": 5}).encode()
    environ = make_environ(body)
    told = estimate_input(environ)
    assert (told.model, told.output_tokens, told.input_tokens) == ("gpt-4o-mini", 5, -(-len(body) // 4))
    assert environ["wsgi.input"].read() == body


@pytest.mark.parametrize("size", [0, 1, BODY_BYTES_MAX, BODY_BYTES_MAX + 1, BODY_BYTES_MAX + 2, 3 * BODY_BYTES_MAX])
@pytest.mark.parametrize("read", [lambda body: body.read(), b"".join, lambda body: body.readline()])
def test_the_app_reads_all_of_it(size, read):
    body = (b"0123456789abcde\n" * (size // 16 + 1))[:size]
    environ = make_environ(body)
    told = estimate_input(environ)
    assert told.input_tokens == -(-min(size, BODY_BYTES_MAX + 1) // 4)
    assert read(environ["wsgi.input"]) == read(io.BytesIO(body))
