"""Any answer, chunking and encoding, through the whole middleware: bytes pass unchanged, chunks do not affect usage."""

import asyncio
import gzip
import sys
from functools import partial

import pytest
from bodies import CONTENT_TYPES, ENCODINGS, bodies, divide
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from memory import peaks_below

import keygauge
from keygauge.http.responder import LAST_EVENTS
from keygauge.runtime import Runtime
from keygauge.usage import reader_for

LIMIT = {"name": "rpm", "unit": "request", "amount": 10_000_000, "window_s": 60}
JSON = [(b"content-type", b"application/json")]
CUT_ARRAY = (JSON, [b'[{"candidates": [{}], "model": "m"}, '])  # of Gemini's chunks: estimated
MISLABELLED = (JSON, [b'event: error\ndata: {"type": "error", "error": {"type": "overloaded_error"}}\n\n'])
OTHER_ARRAY = (JSON, [b'[{"": null, "candidates": null, "model": "m"}'])
OURS = {"ratelimit-policy", "ratelimit", "x-ratelimit-limit-requests"}
OURS |= {"x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"}
ANY_TYPE = st.one_of(CONTENT_TYPES, st.sampled_from([b"application/octet-stream", b"text/html", b"", b"\xff", None]))
ANY_ENCODING = st.sampled_from([*ENCODINGS, b"identity", b"gzip, br", b"unheard-of", b""])
PLACES = st.lists(st.integers(0, 10**6), max_size=8)
MANY = partial(
    settings, deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)  # one middleware serves all examples


@st.composite
def answers(draw):
    """Generate an answer's headers and chunks; its encoding may be wrong, or the body corrupt."""
    body, content_type, encoding = draw(bodies()), draw(ANY_TYPE), draw(ANY_ENCODING)
    if draw(st.integers(0, 4)):
        body = ENCODINGS.get(encoding, bytes)(body)
    if body and draw(st.integers(0, 4)) == 0:
        place = draw(st.integers(0, len(body) - 1))
        body = body[:place] + draw(st.binary(min_size=1, max_size=2)) + body[place + 1 :]
    headers = [(b"x-own", b"1"), (b"content-type", content_type), (b"content-encoding", encoding)]
    chunks = divide(body, draw(PLACES))
    return [(name, value) for name, value in headers if value is not None], chunks


def check_reading(call, headers, chunks):
    """Compare the call's usage with that read from the whole body at once."""
    body, told = b"".join(chunks), dict(headers)
    if told.get(b"content-type") == b"text/event-stream" and any(last in body[:-1] for last in LAST_EVENTS):
        return  # the call ends with the chunk that ends so
    reader = reader_for(told.get(b"content-type"), told.get(b"content-encoding"))
    if reader is None:
        assert (call.usage, call.usage_status) == (None, "none")
        return
    reader.feed(body)
    usage, model, provider, status, missing = reader.close(complete=True)
    assert call.missing in {missing, None}
    if missing == "undecodable":
        return  # how much zlib decodes before the corruption depends on the chunks
    assert (call.model, call.provider) == (model, provider)
    is_stream = call.stream is not None or reader.events > 0  # or an array of Gemini's chunks
    is_estimated = is_stream and call.usage_status == "estimated" and status in {"none", "partial"}
    assert is_estimated or (call.usage, call.usage_status) == (usage, status)
    is_known = reader.failed and call.stream == "sse"  # elsewhere only if the path names a model
    assert call.error == ("stream_error" if is_known else None)


@pytest.fixture
def token(service):
    return service.key(LIMIT)[1]


@pytest.fixture(autouse=True)
def _no_faults(monkeypatch):
    """Check that none of KeyGauge's own steps failed; they are recorded here, as its fault counts are per process."""
    met = []
    monkeypatch.setattr(Runtime, "fault", lambda _, reason: met.append((reason, sys.exc_info()[1])))
    yield
    assert met == []


async def drive(app, token):
    """Send one request; return the answer's messages."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": b""}

    async def send(message):
        sent.append(message)

    headers = [(b"authorization", b"Bearer " + token.encode())]
    await app({"type": "http", "method": "POST", "path": "/", "headers": headers}, receive, send)
    return sent


def test_any_asgi_answer_passes_unchanged_and_is_read_regardless_of_chunks(token, guard):
    answer, seen = [], []

    async def host(scope, receive, send):
        seen[:] = [keygauge.current()]
        headers, chunks = answer
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body"})

    app = guard(host)

    @MANY()
    @given(answers())
    @example(CUT_ARRAY)
    @example(OTHER_ARRAY)
    @example(MISLABELLED)
    def check(made):
        answer[:] = made
        headers, chunks = made
        start, *rest = asyncio.run(drive(app, token))
        assert start["status"] == 200
        assert start["headers"][: len(headers)] == headers
        assert {name.decode() for name, _ in start["headers"][len(headers) :]} == OURS
        assert [message["body"] for message in rest[:-1]] == chunks
        assert rest[-1] == {"type": "http.response.body"}
        check_reading(seen[0], headers, chunks)

    check()


@pytest.mark.parametrize("wrap", [list, iter], ids=["list", "iterator"])
def test_any_wsgi_answer_passes_unchanged_and_is_read_regardless_of_chunks(token, guard_wsgi, wrap):
    answer, seen = [], []

    def host(environ, start_response):
        seen[:] = [keygauge.current()]
        headers, chunks = answer
        start_response("200 OK", [(name.decode(), value.decode("latin-1")) for name, value in headers])
        return wrap(chunks)

    app = guard_wsgi(host)

    @MANY()
    @given(answers())
    @example(CUT_ARRAY)
    @example(OTHER_ARRAY)
    @example(MISLABELLED)
    def check(made):
        answer[:] = made
        headers, chunks = made
        started = []
        environ = {"REQUEST_METHOD": "POST", "PATH_INFO": "/", "HTTP_AUTHORIZATION": f"Bearer {token}"}
        given = app(environ, lambda *start: started.append(start))
        assert list(given) == chunks
        if hasattr(given, "close"):
            given.close()
        ((status, told),) = started
        assert status == "200 OK"
        assert told[: len(headers)] == [(name.decode(), value.decode("latin-1")) for name, value in headers]
        assert {name for name, _ in told[len(headers) :]} == OURS
        check_reading(seen[0], headers, chunks)

    check()


@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream", "application/x-ndjson"])
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_memory_is_bounded_for_any_answer(token, guard_wsgi, content_type, encoding):
    chunk = b'{"usage": [' + b"[" * 2**16 if encoding == "identity" else gzip.compress(b"[" * 2**21)
    count = 0

    def host(environ, start_response):
        start_response("200 OK", [("Content-Type", content_type), ("Content-Encoding", encoding)])
        return (chunk for _ in range(count))

    environ = {"REQUEST_METHOD": "POST", "PATH_INFO": "/", "HTTP_AUTHORIZATION": f"Bearer {token}"}
    app = guard_wsgi(host)
    app(environ, lambda *_: None).close()  # starts and imports everything
    count = 500  # 32 MB plain, a gigabyte decoded

    def pass_on():
        given = app(environ, lambda *_: None)
        assert sum(len(chunk) for chunk in given) == count * len(chunk)
        given.close()

    assert peaks_below(8 * 2**20, pass_on)
