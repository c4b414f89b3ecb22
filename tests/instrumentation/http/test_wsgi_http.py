"""The WSGI driver: what it passes to the request from environ, `start_response` and the answer's iterable."""

import io
from wsgiref.util import FileWrapper

import pytest

from keygauge import current
from keygauge.http.wsgi_http import header_of, path_of
from keygauge.wsgi import KeyGaugeMiddleware


class Served:
    """One request as a server sees it."""

    def __init__(self, app, **environ):
        self.environ = {"REQUEST_METHOD": "POST", "PATH_INFO": "/x", "wsgi.input": io.BytesIO(b"sent"), **environ}
        self.starts = []
        self.answer = app(self.environ, self.start)

    def start(self, *told):
        self.starts.append(told)

    @property
    def call(self):
        return self.environ["keygauge.call"]

    @property
    def told(self):
        return self.call.status, self.call.error, self.call.response_bytes

    def read(self):
        body = b"".join(self.answer)
        if hasattr(self.answer, "close"):
            self.answer.close()
        return body


@pytest.fixture
def serve(tmp_path):
    """Serve one request with an app."""
    made = []

    def serve(app, **environ):
        made.append(KeyGaugeMiddleware(app, mode="observe", spool_dir=tmp_path))
        return Served(made[-1], **environ)

    yield serve
    for middleware in made:
        middleware._process.stop()


def answering(make, *headers, holds=False):
    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain"), *headers])
        if holds:
            current().hold()
        return make()

    return app


@pytest.mark.parametrize("make", [list, tuple, iter])
def test_answer_passes_unchanged_and_is_counted(serve, make):
    served = serve(answering(lambda: make([b"a", b"", b"bc"])))
    assert served.read() == b"abc"
    assert served.starts == [("200 OK", [("Content-Type", "text/plain")])]
    assert served.told == (200, None, 3)


def test_call_with_known_length_ends_with_its_last_byte(serve):
    served = serve(answering(lambda: iter([b"ab", b"c"]), ("Content-Length", "3")))
    assert next(served.answer) == b"ab"
    assert served.call.ended_ns == 0
    assert next(served.answer) == b"c"
    assert served.call.ended_ns
    served.answer.close()
    assert served.told == (200, None, 3)


def test_answer_closed_early_means_the_client_left(serve):
    served = serve(answering(lambda: iter([b"ab", b"c"])))
    next(served.answer)
    served.answer.close()
    assert served.told == (200, "client_disconnected", 2)


def test_answer_closed_early_without_a_start_has_failed(serve):
    served = serve(lambda environ, start_response: iter([b"ab", b"c"]))
    next(served.answer)
    served.answer.close()  # as waitress and hypercorn do
    assert served.told == (500, "incomplete_response", 2)


@pytest.mark.parametrize("wraps", [list, FileWrapper])
def test_held_call_ends_when_the_server_closes_its_answer(serve, wraps):
    def make():
        return [b"abc"] if wraps is list else FileWrapper(io.BytesIO(b"abc"))

    served = serve(answering(make, holds=True), **{"wsgi.file_wrapper": FileWrapper})
    assert b"".join(served.answer) == b"abc"
    served.call.record_usage(input_tokens=5)
    served.answer.close()
    assert served.told == (200, None, 3)
    assert served.call.usage.input_tokens == 5


def test_only_what_the_app_reads_is_counted(serve):
    def app(environ, start_response):
        assert environ["wsgi.input"].read(2) == b"se"
        start_response("200 OK", [])
        return [b""]

    assert serve(app, CONTENT_LENGTH="4").call.request_bytes == 2


def test_headers_and_path_are_text():
    environ = {"HTTP_X_OWN": "1", "CONTENT_TYPE": "text/plain", "CONTENT_LENGTH": None}
    assert [header_of(environ, name) for name in ("x-own", "content-type", "content-length", "origin")] == [
        "1",
        "text/plain",
        "",
        "",
    ]
    assert path_of({"SCRIPT_NAME": "/api", "PATH_INFO": "/größe".encode().decode("latin-1")}) == "/api/größe"


@pytest.mark.parametrize(
    ("read", "size", "told"),
    [
        (10, None, (200, None, 7)),
        (4, None, (200, "client_disconnected", 4)),
        (4, "4", (200, None, 4)),
        (0, None, (200, None, 7)),  # the server sent it by other means
        (0, "5", (200, None, 5)),
    ],
)
def test_sent_part_of_a_file_is_what_the_server_read(serve, tmp_path, read, size, told):
    (tmp_path / "file").write_bytes(b"0123456789")
    file = (tmp_path / "file").open("rb")
    file.seek(3)
    headers = [("Content-Length", size)] if size else []
    served = serve(answering(lambda: FileWrapper(file), *headers), **{"wsgi.file_wrapper": FileWrapper})
    assert type(served.answer) is FileWrapper
    file.read(read)
    assert served.call.ended_ns == 0
    served.answer.close()
    assert served.told == told
    assert file.closed


class FixedWrapper:
    """A file wrapper that takes no other attributes, as one written in C."""

    __slots__ = ("close", "filelike")

    def __init__(self, file):
        object.__setattr__(self, "filelike", file)
        object.__setattr__(self, "close", file.close)

    def __setattr__(self, name, value):
        raise AttributeError(name)

    def __iter__(self):
        return iter(self.filelike)


def test_file_of_a_wrapper_that_takes_no_other_close_counts_whole(serve, tmp_path):
    (tmp_path / "file").write_bytes(b"0123456789")
    file = (tmp_path / "file").open("rb")
    served = serve(answering(lambda: FixedWrapper(file)), **{"wsgi.file_wrapper": FixedWrapper})
    assert type(served.answer) is FixedWrapper
    assert b"".join(served.answer) == b"0123456789"
    served.answer.close()
    assert file.closed
    assert served.told == (200, None, 10)
