"""One WSGI request as it passes: environ, `start_response` and the answer's iterable, written into its call."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from msgspec import Struct, field

from keygauge.call import CURRENT, UNMATCHED
from keygauge.clock import now_ns
from keygauge.http import preflight, request_body, wsgi_route
from keygauge.http.layers import HostSearch, Walk
from keygauge.http.problem import Answer
from keygauge.http.responder import LEFT, Responder
from keygauge.limits.estimate import Estimate
from keygauge.limits.headers import Fields
from keygauge.telemetry import tracing
from keygauge.telemetry.tracing import current as current_context

Environ = dict[str, Any]
Headers = list[tuple[str, str]]
Write = Callable[[bytes], object]
StartResponse = Callable[..., Write]
App = Callable[[Environ, StartResponse], Iterable[bytes]]

_PHRASES = {400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 429: "Too Many Requests"}


class WsgiResponder(Responder, eq=False):
    """An HTTP request and its answer (PEP 3333)."""

    _environ: Environ
    app: App
    host: HostSearch
    _start: StartResponse
    _script_name: str  # as it came; mounts add to that of the environ
    _expected: int | None = None  # bytes that the answer's body is to have
    _write: Write | None = None
    _written: list[bytes] = field(default_factory=list)  # by `write`, for a server that has none

    @property
    def is_cross_origin(self) -> bool:
        """Tell whether a browser asks for a page of another origin, or may do."""
        return "HTTP_ORIGIN" in self._environ

    def is_answered(self) -> bool:
        """Tell whether the host answers this preflight without a handler; it gets no body."""
        if not preflight.is_answered(self.follow().layers):
            return False
        self._environ["wsgi.input"] = io.BytesIO()
        return True

    def refuse(self, answer: Answer) -> list[bytes]:
        """Answer in the app's place."""
        status, headers, body = answer
        if self.may_name_model:
            self.runtime.attempt("read", self._read_model)
        self.call.status = status
        self.call.response_bytes = len(body)
        self.end(complete=True)
        self._start(f"{status} {_PHRASES.get(status, 'Service Unavailable')}", decode(headers))
        return [] if self.call.method == "HEAD" else [body]

    def start_response(self, status: str, headers: Headers, exc_info: Any = None) -> Write:
        """Pass the answer's start on, read; may come again with `exc_info`, in place of one that has not gone out."""
        headers = self._begin(status, headers)
        write = self._start(status, headers) if exc_info is None else self._start(status, headers, exc_info)
        self._write = write
        return self._write_on if callable(write) else self._hold_back

    def pass_on(self, chunks: Iterable[bytes]) -> Iterable[bytes]:
        """Return what the server is to send: the app's chunks, read as they pass, none held back."""
        if self._written:
            chunks = Chained(self._written, chunks)
        if (
            isinstance(chunks, list | tuple) and not self.call.is_held
        ):  # servers treat these apart, to tell a Content-Length of their own
            for chunk in chunks:
                self._read(chunk)
            self.end_whole()
            return chunks
        if self._is_file(chunks):  # the server sends it by itself, perhaps by sendfile(2)
            self.call.response_bytes = self._file_size(chunks)
            self.end(complete=True)
            return chunks
        return PassingAnswer(self, chunks)

    def _read_model(self) -> None:
        """Read the body, where the server has, since it may name the model: a thread waits for no client here."""
        self._note_sent(request_body.read_buffered(self._environ))

    @property
    def path(self) -> str:
        """The request's path."""
        return f"{self._environ.get('SCRIPT_NAME', '')}{self._environ.get('PATH_INFO', '')}"

    @property
    def query(self) -> str:
        """The request's query."""
        return str(self._environ.get("QUERY_STRING", ""))

    def note_sent(self, chunk: bytes) -> None:
        """Count and hold on to a chunk of the request that the app reads."""
        if chunk and not self._settled:
            self.call.request_bytes += len(chunk)
            self._note_sent(chunk)

    def estimate(self, *, waits: bool) -> Estimate:
        """Read the body's beginning, where the decision `waits` for it, and estimate what the call will use.

        Raises:
            EstimateError: a declared cap makes no sense.
        """
        environ = self._environ
        path, query = wsgi_route.path_seen(environ), environ.get("QUERY_STRING", "")
        address = {"path": path, "method": self.call.method, "query": query, "params": self._params}
        return request_body.estimate_input(environ, waits=waits, **address)

    def follow(self) -> Walk:
        """Follow the request through the host, as it will pass it on."""
        return wsgi_route.follow(self._environ, self.app)

    def find_route(self) -> str | None:
        """Return the route that the host has for the request, and where the app is mounted before: SCRIPT_NAME grew."""
        script_name = self._environ.get("SCRIPT_NAME", "")
        matched = self.call.matched
        if matched is None and script_name == self._script_name:
            return self.follow().template if self.host.finds() else None
        return matched if matched in {None, UNMATCHED} else f"{script_name.removeprefix(self._script_name)}{matched}"

    def note_left(self) -> None:
        """Note that the client left its upload."""
        self._is_gone = True

    def end_whole(self) -> None:
        """End with the app's last chunk."""
        self.end(complete=self._is_whole())

    def read(self, chunk: bytes) -> None:
        """Read a chunk on its way.

        The last one settles first: an event that is on disk before the answer's end cannot be lost by a kill after it.
        """
        if chunk and (self._passed is None or not self._puts_off(chunk)):
            self._read(chunk)
            if self._expected is not None and self.call.response_bytes >= self._expected:
                self.end(complete=True)

    def close(self) -> None:
        """End with the server's `close()`: a client that left, unless there was nothing to send."""
        is_empty = self._has_no_body or self._expected == 0
        self._is_gone = self._is_gone or not is_empty
        self.end(complete=is_empty, last=True)

    def _begin(self, status: str, headers: Headers) -> Headers:
        call = self.call
        try:
            call.status = LEFT if self._is_gone else int(status[:3])
            call.matched = call.matched or wsgi_route.noted(self._environ)
            if call.context is None and current_context():  # of an instrumentation inside of KeyGauge, by now
                tracing.find_inside(call)
            told = {name.lower(): value for name, value in headers}
            length = self._length = told.get("content-length")
            self._expected = None if length is None else int(length)
            self.headers = told
            self._expect(told.get("content-type"), told.get("content-encoding"))
            if call.policy is not None:
                headers = [*headers, *call.policy.fields(call.policy.as_text, now_ns(), told)]
        except Exception:  # noqa: BLE001 - ours, never the host's
            self.runtime.fault("start")
        return headers

    def _write_on(self, chunk: bytes) -> object:
        """Be the `write` that PEP 3333 keeps for old apps."""
        self.read(chunk)
        return self._write(chunk) if self._write else None

    def _hold_back(self, chunk: bytes) -> None:
        """Be the `write` of a server that returns none, as granian and hypercorn: its chunks come before the others."""
        self._written.append(chunk)

    def _file_size(self, wrapper: Any) -> int:
        """Tell how much of a file the server sends: what is declared, or the rest of the file."""
        if self.call.method == "HEAD" or self._expected is not None:
            return 0 if self.call.method == "HEAD" else self._expected or 0
        try:
            file = wrapper.filelike
            return os.fstat(file.fileno()).st_size - int(file.tell())
        except (AttributeError, OSError, ValueError):  # no file of the system's
            return 0

    def _is_file(self, chunks: object) -> bool:
        wrapper = self._environ.get("wsgi.file_wrapper")
        return isinstance(wrapper, type) and isinstance(chunks, wrapper)


class PassingAnswer:
    """The answer's iterable, as the server sees it; `keygauge.current()` is the call while the app makes a chunk."""

    __slots__ = ("_chunks", "_iterable", "_responder")

    def __init__(self, responder: WsgiResponder, iterable: Iterable[bytes]) -> None:
        self._responder = responder
        self._iterable = iterable
        self._chunks: Iterator[bytes] | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        responder = self._responder
        outer = CURRENT.set(responder.call)
        try:
            if self._chunks is None:
                self._chunks = iter(self._iterable)
            chunk = next(self._chunks)
        except StopIteration:
            responder.end_whole()
            raise
        except BaseException as error:
            responder.end(complete=False, error=error)
            raise
        finally:
            CURRENT.reset(outer)
        responder.read(chunk)
        return chunk

    def close(self) -> None:
        """Close the app's iterable, as the server must, and settle what has not ended."""
        outer = CURRENT.set(self._responder.call)
        try:
            close = getattr(self._iterable, "close", None)
            if close is not None:
                close()
        except BaseException as error:
            self._responder.end(complete=False, error=error)
            raise
        finally:
            CURRENT.reset(outer)
            self._responder.close()


class Chained:
    """An answer's chunks after those that the app gave to `write`."""

    def __init__(self, written: list[bytes], chunks: Iterable[bytes]) -> None:
        self._written = written
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        yield from self._written
        yield from self._chunks

    def close(self) -> None:
        """Close the app's iterable."""
        close = getattr(self._chunks, "close", None)
        if close is not None:
            close()


class CountedInput(Struct, eq=False):
    """The request's body: what the app reads of it is counted, and no byte more is read."""

    _stream: Any
    _responder: WsgiResponder
    _left_bytes: int | None = None  # of its declared length, to be read yet

    def read(self, *size: int) -> bytes:
        """Read as the server's stream does."""
        return self._pass(self._stream.read, *size)

    def readline(self, *size: int) -> bytes:
        """Read a line as the server's stream does."""
        return self._pass(self._stream.readline, *size)

    def readlines(self, *hint: int) -> list[bytes]:
        """Read lines as the server's stream does."""
        return [self._count(line) for line in self._stream.readlines(*hint)]

    def __iter__(self) -> Iterator[bytes]:
        return map(self._count, self._stream)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._stream, name)
        return self._readinto if name == "readinto" else found  # not required of a server, so apps look for it

    def _readinto(self, buffer: Any) -> int | None:
        size = self._stream.readinto(buffer)
        if size:  # None where there is nothing yet
            self._responder.note_sent(bytes(memoryview(buffer)[:size]))
        return size  # type: ignore[no-any-return]  # a server's stream has no type

    def _pass(self, read: Callable[..., bytes], *size: int) -> bytes:
        try:
            data = read(*size)
        except OSError:  # how servers say that the client left
            self._responder.note_left()
            raise
        return self._count(data, ends=not data and size[:1] != (0,))

    def _count(self, data: bytes, *, ends: bool = False) -> bytes:
        if self._left_bytes is not None:
            self._left_bytes -= len(data)
            if ends and self._left_bytes > 0:  # or by nothing more, before the length that it declared
                self._responder.note_left()
        self._responder.note_sent(data)
        return data


def decode(fields: Fields) -> Headers:
    """Write header fields as WSGI has them."""
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in fields]
