"""The WSGI middleware around small apps, with a real key service."""

import io
import json
import sys
from threading import Thread
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import pytest

from keygauge import current
from keygauge.settings.settings import SettingsError
from keygauge.wsgi import KeyGaugeMiddleware

USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
CHAT = json.dumps({"object": "chat.completion", "model": "gpt-4o-mini", "choices": [], "usage": USAGE}).encode()
CHUNK = {"model": "gpt-4o-mini", "object": "chat.completion.chunk", "choices": [], "usage": USAGE}
EVENTS = [b"data: {}\n\n", f"data: {json.dumps(CHUNK)}\n\n".encode(), b"data: [DONE]\n\n"]
RPM = {"name": "rpm", "unit": "request", "amount": 1000, "window_s": 60}


class Chunks:
    """An answer's iterable that records whether it was closed, and the current call of each chunk."""

    def __init__(self, chunks):
        self._chunks = iter(chunks)
        self.closed = False
        self.calls = []

    def __iter__(self):
        return self

    def __next__(self):
        self.calls.append(current())
        chunk = next(self._chunks)
        if isinstance(chunk, Exception):
            raise chunk
        return chunk

    def close(self):
        self.closed = True


def answering(chunks, content_type="application/json", status="200 OK", **headers):
    def app(environ, start_response):
        fields = [(name.replace("_", "-"), value) for name, value in headers.items()]
        start_response(status, [("Content-Type", content_type), *fields])
        return chunks

    return app


class Server:
    """The WSGI server's side of one request."""

    def __init__(self, app, token=None, *, body=b"", method="GET", **environ):
        self.environ = {"REQUEST_METHOD": method, "wsgi.input": io.BytesIO(body), **environ}
        if token:
            self.environ["HTTP_AUTHORIZATION"] = f"Bearer {token}"
        if body:
            self.environ["CONTENT_LENGTH"] = str(len(body))
        setup_testing_defaults(self.environ)
        self.starts = []
        self.written = []
        self.answer = app(self.environ, self.start_response)

    def start_response(self, status, headers, exc_info=None):
        self.starts.append((status, headers))
        return self.written.append


def test_call_reaches_the_ledger_with_usage(service, guard_wsgi, visit_wsgi):
    made, token = service.key()
    answer = visit_wsgi(guard_wsgi(answering([CHAT])), token, method="POST", content=b"{}")
    assert (answer.status_code, answer.content) == (200, CHAT)
    (event,) = service.events(1)
    assert (event["key_id"], event["status"], event["method"], event["ip"]) == (made.id, 200, "POST", "192.0.2.1")
    assert (event["input_tokens"], event["output_tokens"], event["usage_status"]) == (11, 7, "reported")
    assert (event["response_bytes"], event["error"], event["outcome"]) == (len(CHAT), None, "admitted")


def test_limits_are_reported_and_enforced(service, guard_wsgi, visit_wsgi):
    _, token = service.key({**RPM, "amount": 2})
    app = guard_wsgi(answering([b"{}"]))
    answers = [visit_wsgi(app, token) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[0].headers["x-ratelimit-limit-requests"] == "2"
    assert answers[2].json()["code"] == "rate_limited"
    assert int(answers[2].headers["retry-after"]) >= 1
    assert [event["outcome"] for event in service.events(3)] == ["admitted", "admitted", "limited"]


@pytest.mark.parametrize("header", ["x-api-key", "api-key", "x-goog-api-key"])
def test_key_is_found_in_every_usual_header(service, guard_wsgi, visit_wsgi, header):
    _, token = service.key()
    assert visit_wsgi(guard_wsgi(answering([b"{}"])), headers={header: token}).status_code == 200


def test_missing_conflicting_and_malformed_keys_are_refused(service, guard_wsgi, visit_wsgi):
    app = guard_wsgi(answering([b"{}"]))
    assert visit_wsgi(app).json()["code"] == "key_missing"
    assert visit_wsgi(app, "one", headers={"x-api-key": "two"}).json()["code"] == "key_conflict"
    assert visit_wsgi(app, "sk-1234").status_code == 401
    assert Server(app, "ключ").starts[0][0] == "401 Unauthorized"  # from a server that decodes as UTF-8


def test_unreachable_key_service_is_503(service, guard_wsgi, visit_wsgi):
    _, token = service.key()
    service.down()
    answer = visit_wsgi(guard_wsgi(answering([b"{}"]), wait_s=0.2), token)
    assert (answer.status_code, answer.json()["code"]) == (503, "key_service_unavailable")


def test_stream_is_read_chunk_by_chunk_without_delay(service, guard_wsgi):
    _, token = service.key()
    made = []

    def produce():
        for chunk in EVENTS:
            made.append(chunk)
            yield chunk

    server = Server(guard_wsgi(answering(produce(), "text/event-stream")), token)
    for number, chunk in enumerate(server.answer, 1):
        assert (chunk, len(made)) == (EVENTS[number - 1], number)
    server.answer.close()
    (event,) = service.events(1)
    assert (event["stream"], event["messages"], event["output_tokens"]) == ("sse", 3, 7)


def test_event_is_on_disk_before_the_last_chunk_of_a_known_length(service, guard_wsgi):
    _, token = service.key()
    app = guard_wsgi(answering(Chunks([CHAT[:9], CHAT[9:]]), Content_Length=str(len(CHAT))))
    chunks = iter(Server(app, token).answer)
    next(chunks)
    assert app._process.runtime._spool.next == 0
    next(chunks)
    assert app._process.runtime._spool.next == 1


@pytest.mark.parametrize("last", [b"data: [DONE]\n\n", b'event: message_stop\ndata: {"type":"message_stop"}\n\n'])
def test_event_is_on_disk_before_the_streams_final_message(service, guard_wsgi, last):
    _, token = service.key()
    app = guard_wsgi(answering(Chunks([*EVENTS[:2], last, b": the app goes on\n\n"]), "text/event-stream"))
    chunks = iter(Server(app, token).answer)
    next(chunks)
    next(chunks)
    assert app._process.runtime._spool.next == 0
    assert next(chunks) == last
    assert app._process.runtime._spool.next == 1
    assert len(list(chunks)) == 1
    (event,) = service.events(1)
    assert (event["error"], event["output_tokens"], event["messages"]) == (None, 7, 3)


def test_client_disconnect_is_settled_and_closes_the_hosts_iterable(service, guard_wsgi):
    _, token = service.key()
    chunks = Chunks(EVENTS)
    server = Server(guard_wsgi(answering(chunks, "text/event-stream")), token)
    next(iter(server.answer))
    server.answer.close()
    assert chunks.closed
    (event,) = service.events(1)
    assert (event["status"], event["error"], event["messages"]) == (200, "client_disconnected", 1)


@pytest.mark.parametrize(("method", "status"), [("HEAD", "200 OK"), ("GET", "204 No Content")])
def test_answer_without_a_body_is_complete(service, guard_wsgi, method, status):
    _, token = service.key()
    app = guard_wsgi(answering(Chunks([]), status=status, Content_Length="10"))
    Server(app, token, method=method).answer.close()  # as a server that does not iterate over it
    (event,) = service.events(1)
    assert (event["error"], event["response_bytes"]) == (None, 0)


def test_exception_before_the_start_propagates_and_is_counted(service, guard_wsgi):
    _, token = service.key()

    def fail(environ, start_response):
        raise LookupError("before the start")

    with pytest.raises(LookupError, match="before the start"):
        Server(guard_wsgi(fail), token)
    (event,) = service.events(1)
    assert (event["status"], event["error"]) == (500, "LookupError")


def test_exception_during_a_stream_propagates_and_is_counted(service, guard_wsgi):
    _, token = service.key()
    chunks = Chunks([EVENTS[0], LookupError("after the start")])
    server = Server(guard_wsgi(answering(chunks, "text/event-stream")), token)
    with pytest.raises(LookupError, match="after the start"):
        list(server.answer)
    server.answer.close()
    assert chunks.closed
    (event,) = service.events(1)
    assert (event["status"], event["error"], event["messages"]) == (500, "LookupError", 1)


def test_start_with_exc_info_replaces_the_first(service, guard_wsgi):
    _, token = service.key()

    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        try:
            {}["late"]
        except KeyError:
            start_response("502 Bad Gateway", [("Content-Type", "application/json")], sys.exc_info())
        return [b"{}"]

    middleware = guard_wsgi(app)
    server = Server(middleware, token)
    assert [status for status, _ in server.starts] == ["200 OK", "502 Bad Gateway"]
    (event,) = service.events(1)
    assert (event["status"], event["error"], event["stream"]) == (502, "502", None)
    assert middleware._process.runtime.streams == set()


def test_usage_is_read_from_the_legacy_write_callable(service, guard_wsgi):
    _, token = service.key()

    def app(environ, start_response):
        write = start_response("200 OK", [("Content-Type", "application/json")])
        write(CHAT[:20])
        write(CHAT[20:])
        return []

    server = Server(guard_wsgi(app), token)
    assert b"".join([*server.written, *server.answer]) == CHAT
    (event,) = service.events(1)
    assert (event["response_bytes"], event["output_tokens"]) == (len(CHAT), 7)


def test_file_wrapper_reaches_the_server_unchanged(service, guard_wsgi):
    _, token = service.key()

    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
        return environ["wsgi.file_wrapper"](io.BytesIO(b"hello"))

    server = Server(guard_wsgi(app), token, **{"wsgi.file_wrapper": FileWrapper})
    assert type(server.answer) is FileWrapper
    assert b"".join(server.answer) == b"hello"
    server.answer.close()
    (event,) = service.events(1)
    assert event["response_bytes"] == 5


def test_list_stays_a_list(service, guard_wsgi):
    _, token = service.key()
    assert Server(guard_wsgi(answering([b"a", b"b"])), token).answer == [b"a", b"b"]


def test_request_bytes_are_those_that_the_app_reads(service, guard_wsgi):
    _, token = service.key()
    sent = b"line one\nline two\nline three\n" + b"x" * 1000

    def app(environ, start_response):
        stream = environ["wsgi.input"]
        assert stream.read(2) == b"li"
        assert stream.readline() == b"ne one\n"
        assert stream.readlines(1) == [b"line two\n"]
        assert next(iter(stream)) == b"line three\n"
        assert stream.readinto(bytearray(4)) == 4
        assert stream.tell() == 33
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b""]

    Server(guard_wsgi(app), token, body=sent, method="POST")
    (event,) = service.events(1)
    assert event["request_bytes"] == 33


def test_current_call_is_set_only_in_handler_iterable_and_close(service, guard_wsgi):
    _, token = service.key()
    chunks = Chunks([b"a", b"b"])

    def app(environ, start_response):
        current().record_usage(input_tokens=5, model="own")
        start_response("200 OK", [("Content-Type", "text/plain")])
        return chunks

    server = Server(guard_wsgi(app), token)
    for _ in server.answer:
        assert current() is not server.environ["keygauge.call"]
    assert set(chunks.calls) == {server.environ["keygauge.call"]}
    (event,) = service.events(1)
    assert (event["input_tokens"], event["model"]) == (5, "own")


def test_doubly_installed_middleware_counts_once(service, guard_wsgi, visit_wsgi):
    _, token = service.key({**RPM, "amount": 2})
    app = guard_wsgi(guard_wsgi(answering([b"{}"])))
    assert [visit_wsgi(app, token).status_code for _ in range(3)] == [200, 200, 429]
    assert len(service.events(3)) == 3


def test_open_paths_need_no_key(guard_wsgi, visit_wsgi):
    app = guard_wsgi(answering([b"{}"]), open_paths=["/hello", "/docs/*"])
    assert visit_wsgi(app).status_code == 200
    assert visit_wsgi(app, path="/docs/x").status_code == 200
    assert visit_wsgi(app, path="/other").status_code == 401


def test_wsgi_protocol_is_followed_strictly(service, guard_wsgi):
    _, token = service.key()
    app = validator(guard_wsgi(validator(answering(Chunks([CHAT])))))
    server = Server(app, token, QUERY_STRING="")
    assert b"".join(server.answer) == CHAT
    server.answer.close()


def test_first_requests_of_many_threads_share_one_runtime(service, guard_wsgi):
    _, token = service.key()
    app = guard_wsgi(answering([b"{}"]))
    threads = [Thread(target=Server, args=(app, token)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(service.events(8)) == 8
    assert app._process.runtime._spool.next == 8


def test_observe_mode_counts_own_keys_and_refuses_no_call(visit_wsgi, tmp_path):
    app = KeyGaugeMiddleware(
        answering([b"{}"]), mode="observe", spool_dir=tmp_path, identify=lambda environ: environ.get("HTTP_X_USER")
    )
    assert visit_wsgi(app, headers={"x-user": "bob of WSGI"}).status_code == 200
    assert visit_wsgi(app).status_code == 200
    cells = app._process.runtime.aggregator.cells()
    assert sum(cell.requests for cell in cells if cell.series.key == "bob of WSGI") == 1
    app._process.stop()


def test_failing_identify_loses_only_a_label(visit_wsgi, tmp_path):
    app = KeyGaugeMiddleware(answering([b"{}"]), mode="observe", spool_dir=tmp_path, identify=lambda environ: 1 / 0)
    assert visit_wsgi(app).status_code == 200
    app._process.stop()


def test_identify_requires_observe_mode(guard_wsgi):
    with pytest.raises(SettingsError, match="observe"):
        guard_wsgi(answering([]), identify=lambda environ: None)


@pytest.mark.parametrize("rest", [[b" world"], (part for part in [b" world"])])
def test_written_data_is_sent_even_if_the_server_has_no_write_callable(service, guard_wsgi, rest):
    def app(environ, start_response):
        write = start_response("200 OK", [("content-type", "text/plain"), ("content-length", "11")])
        write(b"hel")
        write(b"lo")
        return rest

    _, token = service.key()
    environ = {"HTTP_AUTHORIZATION": f"Bearer {token}", "wsgi.input": io.BytesIO()}
    setup_testing_defaults(environ)
    answer = guard_wsgi(app)(environ, lambda *_: None)
    assert b"".join(answer) == b"hello world"
    answer.close()
    (event,) = service.events(1)
    assert (event["status"], event["response_bytes"], event["error"]) == (200, 11, None)


def test_keys_can_have_a_dedicated_header(service, guard_wsgi, visit_wsgi, monkeypatch):
    monkeypatch.setenv("KEYGAUGE_CREDENTIAL_HEADER", "X-KeyGauge-Key")
    _, token = service.key()
    app = guard_wsgi(answering([b"{}"]))
    assert visit_wsgi(app, headers={"x-keygauge-key": token, "authorization": "Bearer kg_1"}).status_code == 200
    refused = visit_wsgi(app, token, headers={"origin": "https://site.example"})
    assert (refused.json()["code"], refused.headers["access-control-allow-origin"]) == ("key_missing", "*")
    assert refused.json()["detail"] == "Send your API key in 'X-KeyGauge-Key'."
