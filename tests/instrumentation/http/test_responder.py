"""Who ended a call and what was sent, the same on ASGI and WSGI."""

import asyncio
import io
from contextlib import suppress
from wsgiref.util import FileWrapper, setup_testing_defaults

import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

import keygauge

START = {"type": "http.response.start", "status": 200, "headers": []}
PART = {"type": "http.response.body", "body": b"part", "more_body": True}
GONE = {"type": "http.disconnect"}
INCOMPLETE = (500, "incomplete_response")
LEFT = (499, "client_disconnected")


def sending(*messages):
    async def app(scope, receive, send):
        for message in messages:
            await send(message)

    return app


async def drive(app, token, *, method="GET", path="/", inbox=(), send=None, kind="http"):
    """Call an app like a server, with the client's messages; return the app's messages."""
    sent, inbox = [], list(inbox)

    async def receive():
        if inbox:
            return inbox.pop(0)
        await asyncio.Event().wait()
        raise AssertionError

    async def keep(message):
        sent.append(message)

    headers = [(b"authorization", f"Bearer {token}".encode())]
    scope = {"type": kind, "method": method, "path": path, "headers": headers, "client": ("192.0.2.1", 1)}
    scope |= {"query_string": b"", "extensions": {"websocket.http.response": {}}}
    with suppress(RuntimeError, OSError):
        await app(scope, receive, send or keep)
    return sent


def ended(service):
    (event,) = service.events(1)
    return event["status"], event["error"]


@pytest.mark.parametrize(
    ("messages", "told"),
    [
        ([], INCOMPLETE),
        ([PART], INCOMPLETE),
        ([{**PART, "more_body": False}], INCOMPLETE),
        ([START], INCOMPLETE),
        ([START, PART], INCOMPLETE),
        ([{**START, "status": 404}], (404, "incomplete_response")),
        ([START, {**PART, "more_body": False}], (200, None)),
    ],
)
async def test_app_that_returns_without_a_complete_answer_has_failed(service, guard, messages, told):
    _, token = service.key()
    await drive(guard(sending(*messages)), token)
    assert await asyncio.to_thread(ended, service) == told


@pytest.mark.parametrize("inside", [True, False])
async def test_client_that_leaves_during_upload_is_detected_in_any_middleware_position(service, guard, inside):
    async def upload(request: Request):
        return PlainTextResponse(str(len(await request.body())))

    _, token = service.key()
    app = Starlette(routes=[Route("/", upload, methods=["POST"])])
    if inside:
        made = []
        app.add_middleware(lambda inner: made.append(guard(inner)) or made[0])
    else:
        app = guard(app)
    upload_begun = {"type": "http.request", "body": b"x", "more_body": True}
    with suppress(Exception):
        await drive(app, token, method="POST", inbox=[upload_begun, GONE])
    assert await asyncio.to_thread(ended, service) == LEFT


async def test_client_that_left_is_the_reason_for_an_incomplete_answer(service, guard):
    async def app(scope, receive, send):
        await send(START)
        await send(PART)
        await receive()

    _, token = service.key()
    await drive(guard(app), token, inbox=[GONE])
    assert await asyncio.to_thread(ended, service) == (200, "client_disconnected")


class UvicornCycle:
    disconnected = False

    async def send(self, message):
        self.disconnected = message.get("body") == b"part"


class HypercornStream:
    closed = False

    async def app_send(self, message):
        self.closed = message.get("body") == b"part"


@pytest.mark.parametrize("send", [UvicornCycle().send, HypercornStream().app_send], ids=["uvicorn", "hypercorn"])
async def test_nothing_counts_as_sent_after_the_server_saw_the_client_leave(service, guard, send):
    _, token = service.key()
    app = guard(sending(START, PART, {**PART, "body": b"more"}, {**PART, "more_body": False}))
    await drive(app, token, send=send)
    (event,) = await asyncio.to_thread(service.events, 1)
    assert (event["response_bytes"], event["error"]) == (4, "client_disconnected")


CHUNK = b'data: {"id": "c", "model": "m", "choices": [{"delta": {"content": "x"}}], "usage": null}\n\n'
LAST = b'data: {"id": "c", "model": "m", "choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 7}}\n\n'
ANSWERS = {
    b"application/json": [b'{"id": "c", "model": "m", "usage": {"prompt_tokens": 5, "completion_tokens": 7}}'],
    b"text/event-stream": [CHUNK, LAST],
}


async def answer_after_leaving(service, guard, content_type, parts, *, method="POST", path="/"):
    async def app(scope, receive, send):
        await receive()
        await send({**START, "headers": [(b"content-type", content_type)]})
        for part in parts:
            await send({**PART, "body": part})
        await send({**PART, "body": b"", "more_body": False})

    _, token = service.key()
    await drive(guard(app), token, method=method, path=path, inbox=[GONE])
    (event,) = await asyncio.to_thread(service.events, 1)
    assert (event["status"], event["error"], event["response_bytes"], event["messages"]) == (*LEFT, 0, 0)
    return event["input_tokens"], event["output_tokens"], event["usage_status"]


@pytest.mark.parametrize(("content_type", "parts"), ANSWERS.items())
async def test_usage_of_an_answer_for_a_client_that_left_is_charged(service, guard, content_type, parts):
    assert await answer_after_leaving(service, guard, content_type, parts) == (5, 7, "reported")


async def test_stored_answer_is_free_for_a_client_that_left(service, guard):
    stored = (b"application/json", ANSWERS[b"application/json"])
    told = await answer_after_leaving(service, guard, *stored, method="GET", path="/v1/chat/completions/c")
    assert told == (None, None, "none")


async def test_stream_without_usage_for_a_client_that_left_is_estimated(service, guard):
    assert await answer_after_leaving(service, guard, b"text/event-stream", [CHUNK] * 3) == (0, 3, "estimated")


async def test_status_is_that_of_the_first_start(service, guard):
    app = guard(sending(START, {**START, "status": 500}, {**PART, "more_body": False}))
    _, token = service.key()
    await drive(app, token)
    assert await asyncio.to_thread(ended, service) == (200, None)


class GunicornBody:
    def __init__(self, *, closed):
        self._closed = closed

    async def receive(self):
        raise asyncio.CancelledError


@pytest.mark.parametrize(("closed", "told"), [(True, (200, "client_disconnected")), (False, (500, "CancelledError"))])
async def test_request_that_gunicorn_cancels_because_the_client_left_did_not_fail(service, guard, closed, told):
    async def app(scope, receive, send):
        await send(START)
        await send(PART)
        await receive()

    _, token = service.key()
    app, body = guard(app), GunicornBody(closed=closed)
    with suppress(asyncio.CancelledError):
        await drive(lambda scope, _, send: app(scope, body.receive, send), token)
    assert await asyncio.to_thread(ended, service) == told


ACCEPT = {"type": "websocket.accept"}
UPLOAD = {"type": "http.request", "body": b"late", "more_body": False}


async def test_nothing_changes_a_call_after_its_event_is_written(service, guard):
    async def app(scope, receive, send):
        for message in (START, {**PART, "more_body": False}):
            await send(message)
        await receive()
        keygauge.current().record_usage(input_tokens=5, model="late")
        for message in ({**START, "status": 500}, {**PART, "more_body": False}):
            await send(message)

    key, token = service.key()
    app = guard(app)
    await drive(app, token, method="POST", inbox=[UPLOAD])
    (event,) = await asyncio.to_thread(service.events, 1)
    (cell,) = [cell for cell in app._process.runtime.aggregator.cells() if cell.series.key == key.id]
    assert (event["status"], event["request_bytes"], event["response_bytes"], event["model"]) == (200, 0, 4, None)
    assert (cell.series.status, cell.request_bytes, cell.response_bytes, cell.series.model) == (200, 0, 4, None)


async def test_session_accepted_after_the_client_left_is_not_open(service, guard):
    async def app(scope, receive, send):
        await receive()
        await send(ACCEPT)
        await send({"type": "websocket.send", "text": "x"})

    _, token = service.key()
    app = guard(app)
    await drive(app, token, kind="websocket", inbox=[{"type": "websocket.disconnect"}])
    assert await asyncio.to_thread(ended, service) == LEFT
    assert app._process.runtime.streams == set()


def test_wsgi_body_read_into_a_buffer_is_counted_and_read(service, guard_wsgi):
    def app(environ, start_response):
        environ["wsgi.input"].readinto(bytearray(100))
        start_response("200 OK", [("content-type", "application/json")])
        return [b'{"usage": {"input_tokens": 3, "output_tokens": 1}}']

    body = b'{"model": "m1"}'
    _, token = service.key()
    environ = {"REQUEST_METHOD": "POST", "CONTENT_LENGTH": str(len(body)), "wsgi.input": io.BytesIO(body)}
    call_wsgi(guard_wsgi(app), token, **environ)
    (event,) = service.events(1)
    assert (event["request_bytes"], event["model"]) == (len(body), "m1")


@pytest.mark.parametrize(
    ("messages", "told"),
    [
        ([{"type": "websocket.close", "code": 1008}], (403, None)),
        (
            [
                {"type": "websocket.http.response.start", "status": 401, "headers": []},
                {"type": "websocket.http.response.body", "body": b"no"},
            ],
            (401, None),
        ),
        ([ACCEPT], (101, None)),
        ([ACCEPT, {"type": "websocket.send", "text": "x"}], (101, None)),
        ([], INCOMPLETE),
    ],
)
async def test_sessions_are_ended_by_the_app(service, guard, messages, told):
    _, token = service.key()
    await drive(guard(sending(*messages)), token, kind="websocket")
    assert await asyncio.to_thread(ended, service) == told


async def test_files_and_head_answers_have_the_size_sent(service, guard, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    file = guard(sending(START, {"type": "http.response.pathsend", "path": str(path)}))
    _, token = service.key()
    for method in ("GET", "HEAD"):
        await drive(file, token, method=method)
    await drive(guard(sending(START, {**PART, "more_body": False})), token, method="HEAD")
    events = await asyncio.to_thread(service.events, 3)
    assert sorted(event["response_bytes"] for event in events) == [0, 0, 10]
    assert {event["error"] for event in events} == {None}


async def test_file_for_a_client_that_left_before_is_not_counted(service, guard, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")

    async def app(scope, receive, send):
        await receive()
        await send(START)
        await send({"type": "http.response.pathsend", "path": str(path)})

    _, token = service.key()
    await drive(guard(app), token, inbox=[GONE])
    (event,) = await asyncio.to_thread(service.events, 1)
    assert (event["response_bytes"], event["error"]) == (0, "client_disconnected")


def call_wsgi(app, token, **environ):
    environ = {"HTTP_AUTHORIZATION": f"Bearer {token}", "wsgi.input": io.BytesIO(), **environ}
    setup_testing_defaults(environ)
    answer = app(environ, lambda *_: None)
    body = b"".join(answer)
    if hasattr(answer, "close"):
        answer.close()
    return body


@pytest.mark.parametrize("make", [list, iter])
def test_wsgi_app_that_never_starts_its_answer_has_failed(service, guard_wsgi, make):
    _, token = service.key()
    call_wsgi(guard_wsgi(lambda environ, start_response: make([b"x"])), token)
    assert ended(service) == INCOMPLETE


@pytest.mark.parametrize(("method", "size"), [("GET", 7), ("HEAD", 0)])
def test_wsgi_file_has_the_size_sent(service, guard_wsgi, tmp_path, method, size):
    (tmp_path / "file").write_bytes(b"0123456789")

    def app(environ, start_response):
        start_response("200 OK", [])
        file = (tmp_path / "file").open("rb")
        file.seek(3)
        return environ["wsgi.file_wrapper"](file)

    _, token = service.key()
    call_wsgi(guard_wsgi(app), token, **{"REQUEST_METHOD": method, "wsgi.file_wrapper": FileWrapper})
    (event,) = service.events(1)
    assert (event["response_bytes"], event["error"]) == (size, None)


async def test_parts_of_an_open_file_have_the_size_sent(service, guard, tmp_path):
    (tmp_path / "file").write_bytes(b"0123456789")
    part = {"type": "http.response.zerocopysend"}
    with (tmp_path / "file").open("rb") as file:
        messages = [
            {**part, "file": file.fileno(), "count": 4, "more_body": True},
            {**part, "file": file.fileno(), "offset": 4},
        ]
        _, token = service.key()
        app = guard(sending(START, *messages))
        for method in ("GET", "HEAD"):
            await drive(app, token, method=method)
    events = await asyncio.to_thread(service.events, 2)
    assert [(event["status"], event["response_bytes"], event["error"]) for event in events] == [
        (200, 10, None),
        (200, 0, None),
    ]


async def test_body_with_a_bodiless_status_is_not_counted(service, guard):
    _, token = service.key()
    await drive(guard(sending({**START, "status": 304}, {**PART, "more_body": False})), token)
    (event,) = await asyncio.to_thread(service.events, 1)
    assert (event["status"], event["response_bytes"], event["error"]) == (304, 0, None)


async def test_chunk_the_client_did_not_receive_is_not_counted(service, guard):
    taken = []

    async def send(message):
        if len(taken) == 3:
            raise OSError
        taken.append(message)

    _, token = service.key()
    await drive(guard(sending(START, *[PART] * 9)), token, send=send)
    (event,) = await asyncio.to_thread(service.events, 1)
    assert (event["status"], event["response_bytes"], event["error"]) == (200, 8, "client_disconnected")


TOKEN_EVENT = b'data: {"id":"c","model":"m","choices":[{"delta":{"content":"a"}}],"usage":null}\n\n'
USAGE_EVENT = b'data: {"id":"c","model":"m","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7}}\n\n'
EVENT_STREAM = {**START, "headers": [(b"content-type", b"text/event-stream")]}


def event_stream(*chunks):
    return [EVENT_STREAM, *({"type": "http.response.body", "body": chunk, "more_body": True} for chunk in chunks)]


def streams(end):
    """Yield token streams with usage in the middle, in chunks of several sizes, and the expected counts."""
    for tokens in (0, 31, 33, 60):
        for size in (7, len(TOKEN_EVENT), 5000):
            whole = TOKEN_EVENT * tokens + USAGE_EVENT + TOKEN_EVENT * tokens + end
            chunks = [whole[at : at + size] for at in range(0, len(whole), size)]
            yield chunks, (5, 7, 2 * tokens + 1 + bool(end), len(whole))


def told_of(event):
    return event["input_tokens"], event["output_tokens"], event["messages"], event["response_bytes"]


@pytest.mark.parametrize(("end", "error"), [(b"data: [DONE]\n\n", None), (b"", "incomplete_response")])
async def test_stream_is_counted_the_same_in_any_chunks(service, guard, end, error):
    async def app(scope, receive, send):
        for message in (*event_stream(*inbox.pop()), *([] if error else [{"type": "http.response.body"}])):
            await send(message)

    _, token = service.key()
    guarded = guard(app)
    inbox, expected = [], []
    for chunks, told in streams(end):
        inbox.append(chunks)
        await drive(guarded, token, method="POST")
        expected.append((*told, error))
    events = await asyncio.to_thread(service.events, len(expected))
    assert [(*told_of(event), event["error"]) for event in events] == expected


def test_stream_is_counted_the_same_over_wsgi(service, guard_wsgi):
    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        yield from inbox.pop()

    _, token = service.key()
    guarded = guard_wsgi(app)
    inbox, expected = [], []
    for chunks, told in streams(b"data: [DONE]\n\n"):
        inbox.append(chunks)
        call_wsgi(guarded, token, REQUEST_METHOD="POST")
        expected.append(told)
    assert [told_of(event) for event in service.events(len(expected))] == expected


@pytest.mark.parametrize("taken", [3, 33, 34])
async def test_stream_counts_what_the_client_received(service, guard, taken):
    passed = []

    async def send(message):
        if len(passed) == 1 + taken:
            raise OSError
        passed.append(message)

    _, token = service.key()
    await drive(guard(sending(*event_stream(*[TOKEN_EVENT] * 60))), token, method="POST", send=send)
    (event,) = await asyncio.to_thread(service.events, 1)
    assert (event["status"], event["error"]) == (200, "client_disconnected")
    assert event["response_bytes"] == taken * len(TOKEN_EVENT)


@pytest.mark.parametrize(
    ("method", "length", "told"),
    [
        ("GET", b"4", (200, None)),
        ("GET", b"5", INCOMPLETE),
        ("GET", b"many", (200, None)),
        ("HEAD", b"5", (200, None)),
    ],
)
async def test_body_shorter_than_its_length_is_incomplete(service, guard, guard_wsgi, method, length, told):
    def app(environ, start_response):
        start_response("200 OK", [("Content-Length", length.decode())])
        return [b"part"] if environ["PATH_INFO"] == "/list" else iter([b"part"])

    _, token = service.key()
    start = {**START, "headers": [(b"content-length", length)]}
    await drive(guard(sending(start, {**PART, "more_body": False})), token, method=method)
    for path in ("/list", "/iterator"):
        call_wsgi(guard_wsgi(app), token, REQUEST_METHOD=method, PATH_INFO=path)
    events = await asyncio.to_thread(service.events, 3)
    assert [(event["status"], event["error"]) for event in events] == [told] * 3


class Broken(io.BytesIO):
    def read(self, *size):
        raise OSError


@pytest.mark.parametrize("stream", [Broken(), io.BytesIO(b"part")])
@pytest.mark.parametrize("answers", [True, False])
def test_wsgi_client_that_leaves_during_upload_is_detected(service, guard_wsgi, stream, answers):
    def app(environ, start_response):
        try:
            while environ["wsgi.input"].read(100):
                pass
        except OSError:
            if not answers:
                raise
        start_response("400 Bad Request", [])
        return [b"cut"]

    _, token = service.key()
    stream.seek(0)
    with suppress(OSError):
        call_wsgi(guard_wsgi(app), token, REQUEST_METHOD="POST", CONTENT_LENGTH="99", **{"wsgi.input": stream})
    assert ended(service) == LEFT


def test_exiting_wsgi_worker_is_not_a_client_that_left(service, guard_wsgi):
    def app(environ, start_response):
        raise SystemExit(1)

    _, token = service.key()
    with pytest.raises(SystemExit):
        call_wsgi(guard_wsgi(app), token)
    assert ended(service) == (500, "SystemExit")


def test_wsgi_worker_that_exits_during_an_answer_has_broken_it(service, guard_wsgi):
    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        yield b"data: x\n\n"
        raise SystemExit(1)

    _, token = service.key()
    with pytest.raises(SystemExit):
        call_wsgi(guard_wsgi(app), token)
    assert ended(service) == (500, "SystemExit")


async def pieces():
    yield b"data: x\n\n"
    raise LookupError


def raising_at_once(request):
    raise LookupError


async def breaking_off(request):
    return StreamingResponse(pieces(), media_type=request.query_params.get("type", "text/plain"))


class PassingOn(BaseHTTPMiddleware):
    async def dispatch(self, request, call_next):
        return await call_next(request)


class Mending(BaseHTTPMiddleware):
    async def dispatch(self, request, call_next):
        try:
            return await call_next(request)
        except LookupError:
            return PlainTextResponse("instead")


@pytest.mark.parametrize(
    ("endpoint", "inside", "told"),
    [
        (breaking_off, [], (500, "LookupError")),
        (breaking_off, [PassingOn], (500, "LookupError")),
        (breaking_off, [PassingOn, PassingOn, Mending], (500, "LookupError")),
        (breaking_off, [Mending, GZipMiddleware], (500, "LookupError")),
        (raising_at_once, [Mending], (200, None)),
    ],
)
@pytest.mark.parametrize("is_outside", [True, False])  # outside Starlette's ServerErrorMiddleware
async def test_exception_is_attributed_to_the_app_behind_any_middleware(
    service, guard, endpoint, inside, told, is_outside
):
    app = Starlette(routes=[Route("/", endpoint)])
    for layer in inside:
        app.add_middleware(layer)
    if is_outside:
        app = guard(app)
    else:
        app.add_middleware(guard)
    _, token = service.key()
    with suppress(LookupError):
        await drive(app, token)
    assert await asyncio.to_thread(ended, service) == told


async def test_exception_group_of_one_is_reported_as_that_exception(service, guard):
    async def app(scope, receive, send):
        await send(START)
        raise ExceptionGroup("a task failed", [ExceptionGroup("inside", [LookupError()])])

    _, token = service.key()
    with suppress(ExceptionGroup):
        await drive(guard(app), token)
    assert await asyncio.to_thread(ended, service) == (500, "LookupError")


async def test_exception_after_a_complete_answer_changes_nothing(service, guard):
    async def whole(request):
        async def stream():
            yield b"x"

        async def work():
            raise LookupError

        return StreamingResponse(stream(), background=BackgroundTask(work))

    app = Starlette(routes=[Route("/", whole)])
    app.add_middleware(PassingOn)
    _, token = service.key()
    with suppress(LookupError):
        await drive(guard(app), token)
    assert await asyncio.to_thread(ended, service) == (200, None)
