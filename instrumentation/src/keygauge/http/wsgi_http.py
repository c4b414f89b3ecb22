"""The WSGI driver: it feeds a request with the environ, `start_response` and the answer's iterable."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from http import HTTPStatus
from itertools import chain
from typing import Any, cast

from msgspec import field

from keygauge.call import CURRENT, UNMATCHED
from keygauge.clock import SECOND, now_ns
from keygauge.http import request_body
from keygauge.http.problem import Answer
from keygauge.http.request import ReadAhead, Request, Waits
from keygauge.http.routing import wsgi_route
from keygauge.http.routing.layers import HostSearch, Walk
from keygauge.limits.refusal import Refusal
from keygauge.limits.waiter import Wait

Environ = dict[str, Any]
Headers = list[tuple[str, str]]
Write = Callable[[bytes], object]
StartResponse = Callable[..., Write]
App = Callable[[Environ, StartResponse], Iterable[bytes]]

_WHOLE = (list, tuple)  # `list | tuple` would be created for each call
_BARE = frozenset({"CONTENT_TYPE", "CONTENT_LENGTH"})  # PEP 3333 names these without HTTP_


class WsgiRequest(Request, eq=False):
    """An HTTP request and its answer (PEP 3333)."""

    is_text = True

    environ: Environ
    app: App
    host: HostSearch
    _start: StartResponse
    _script_name: str  # original value; mounts extend the one in the environ
    _write: Write | None = None
    _written: list[bytes] = field(default_factory=list)  # chunks passed to `write`, if the server has none

    @property
    def query(self) -> str:
        """The request's query string."""
        return str(self.environ.get("QUERY_STRING", ""))

    def header(self, name: str) -> str:
        """Return a header of the request; "" if absent."""
        return header_of(self.environ, name)

    def follow(self) -> Walk:
        """Follow the request through the app's layers in the way it is routed, from where it arrived."""
        environ = self.environ
        if mount := self._mount():
            path = mount + environ.get("PATH_INFO", "")
            environ = {**environ, "SCRIPT_NAME": self._script_name, "PATH_INFO": path}
        return wsgi_route.follow(environ, self.app)

    def _mount(self) -> str:
        """Return what a dispatcher has moved from the path to SCRIPT_NAME."""
        script_name: str = self.environ.get("SCRIPT_NAME", "")
        return script_name.removeprefix(self._script_name)

    def find_route(self) -> str | None:
        """Return the app's route for the request, prefixed with its mount if SCRIPT_NAME has grown; None if unknown."""
        matched = self.call.matched
        if matched is None:
            return self.follow().template if self.host.finds() else None
        return matched if matched == UNMATCHED else f"{self._mount()}{matched}"

    def drop_body(self) -> None:
        """Give the app an empty body."""
        self.environ["wsgi.input"] = io.BytesIO()

    def count_input(self) -> None:
        """Count what the app reads of the body, if there may be one."""
        environ, length = self.environ, self.environ.get("CONTENT_LENGTH")
        if length not in {None, "", "0"} or "HTTP_TRANSFER_ENCODING" in environ:
            declared = int(length) if length and length.isdecimal() else None
            environ["wsgi.input"] = request_body.CountedInput(environ["wsgi.input"], self, declared)

    def wait(self, waits: Waits) -> Refusal | None:
        """Wait in this thread for what the decision needs, and return the decision."""
        try:
            need = next(waits)
            while True:
                if isinstance(need, ReadAhead):
                    need = waits.send(request_body.read_input(self.environ, need.length))
                else:
                    _wait(*need)
                    need = next(waits)
        except StopIteration as decided:
            return cast("Refusal | None", decided.value)
        finally:
            waits.close()

    def answer(self, refusal: Refusal) -> list[bytes]:
        """Answer in place of the app."""
        if self.may_name_model:
            self.runtime.attempt("read", self._read_model)
        return give_answer(self.refuse(refusal), self.call.method, self._start)

    def _read_model(self) -> None:
        """Read the body, which may name the model, if the server already has: a thread must not wait for a client."""
        self.note_sent(request_body.read_buffered(self.environ), is_read=False)

    def start_response(self, status: str, headers: Headers, exc_info: Any = None) -> Write:
        """Read and pass on the answer's start. With `exc_info`, it replaces an earlier one that was not sent."""
        try:
            self.call.matched = self.call.matched or wsgi_route.noted(self.environ)
        except Exception:  # noqa: BLE001 - our failure, which must not reach the app
            self.runtime.fault("route")
        headers = self.begin(status[:3], headers)
        write = self._start(status, headers) if exc_info is None else self._start(status, headers, exc_info)
        self._write = write
        return self._write_on if callable(write) else self._hold_back

    def pass_on(self, chunks: Iterable[bytes]) -> Iterable[bytes]:
        """Return the iterable for the server: the app's chunks, read as they pass, none held back."""
        if self._written or self.call.is_held:  # a held call ends when the server closes the answer
            return PassingAnswer(self, chunks)
        if isinstance(chunks, _WHOLE):  # from these, servers may set Content-Length
            for chunk in chunks:
                self.read(chunk)
            self.end_body()
            return chunks
        if self._is_file(chunks):  # the server sends it itself, perhaps with sendfile(2)
            self._watch_file(chunks)
            return chunks
        return PassingAnswer(self, chunks)

    def _watch_file(self, wrapper: Any) -> None:
        """Count how much of a file was sent, by its position when the server closes it.

        If the position has not changed, the server read it by other means, and all of it counts as sent; likewise if
        the server's class takes no other `close`, as one written in C.
        """
        file = getattr(wrapper, "filelike", None) or getattr(wrapper, "file", None)
        start, close = _position(file), getattr(wrapper, "close", None)
        size = self._length if self._length is not None else _rest_of(file, start)

        def end() -> None:
            try:
                read = max(_position(file) - start, 0)
                sent = read if not size or 0 < read < size else size
                self.count_file(sent)
                self._is_gone = self._is_gone or sent < size
                self.end(complete=sent >= size, last=True)
            finally:
                if close is not None:
                    close()

        try:
            wrapper.close = end
        except AttributeError:
            self.count_file(size)
            self.end(complete=True)

    def pass_chunk(self, chunk: bytes) -> None:
        """Read a chunk before the server gets it.

        The last one settles the call first: an event on disk before the answer's end survives a kill after it.
        """
        if chunk and (self._passed is None or not self._puts_off(chunk)):
            self.read(chunk)
            if self._length is not None and self.call.response_bytes >= self._length:
                self.end(complete=True)

    def close(self) -> None:
        """End the call on the server's `close()`: the client has left, unless there was nothing to send or no start."""
        is_empty = self._has_no_body or self._length == 0
        self._is_gone = self._is_gone or not (is_empty or self.call.status == 0)
        self.end(complete=is_empty, last=True)

    def _write_on(self, chunk: bytes) -> object:
        """Serve as the `write` callable, which PEP 3333 has for old apps."""
        self.pass_chunk(chunk)
        return self._write(chunk) if self._write else None

    def _hold_back(self, chunk: bytes) -> None:
        """Serve as `write` if the server returns none (granian, hypercorn): its chunks precede the iterable's."""
        self._written.append(chunk)

    def _is_file(self, chunks: object) -> bool:
        wrapper = self.environ.get("wsgi.file_wrapper")
        return isinstance(wrapper, type) and isinstance(chunks, wrapper)


class PassingAnswer:
    """The answer's iterable for the server; `keygauge.current()` is the call while the app produces a chunk."""

    __slots__ = ("_chunks", "_iterable", "_request")

    def __init__(self, request: WsgiRequest, iterable: Iterable[bytes]) -> None:
        self._request = request
        self._iterable = iterable
        self._chunks: Iterator[bytes] | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        request = self._request
        outer = CURRENT.set(request.call)
        try:
            if self._chunks is None:
                self._chunks = chain(request._written, self._iterable)  # noqa: SLF001 - its own request
            chunk = next(self._chunks)
        except StopIteration:
            request.end_body()
            raise
        except BaseException as error:
            request.end(complete=False, error=error)
            raise
        finally:
            CURRENT.reset(outer)
        request.pass_chunk(chunk)
        return chunk

    def close(self) -> None:
        """Close the app's iterable, and end the call if it has not ended."""
        outer = CURRENT.set(self._request.call)
        try:
            close = getattr(self._iterable, "close", None)
            if close is not None:
                close()
        except BaseException as error:
            self._request.end(complete=False, error=error)
            raise
        finally:
            CURRENT.reset(outer)
            self._request.close()


def header_of(environ: Environ, name: str) -> str:
    """Return a header of a request; "" if absent."""
    key = name.upper().replace("-", "_")
    return str(environ.get(key if key in _BARE else f"HTTP_{key}") or "")


def path_of(environ: Environ) -> str:
    """Return the full path of a request as text; PEP 3333 passes its bytes as Latin-1."""
    path = f"{environ.get('SCRIPT_NAME', '')}{environ.get('PATH_INFO', '')}"
    return path if path.isascii() else path.encode("latin-1", "replace").decode(errors="replace")


def give_answer(answer: Answer, method: str, start_response: StartResponse) -> list[bytes]:
    """Send a complete answer."""
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in answer.headers]
    start_response(f"{answer.status} {HTTPStatus(answer.status).phrase}", headers)
    return [] if method == "HEAD" else [answer.body]


def _position(file: Any) -> int:
    """Return a file's position; 0 if it has none."""
    try:
        return int(file.tell())
    except (AttributeError, OSError, ValueError):
        return 0


def _rest_of(file: Any, start: int) -> int:
    """Return the size of the rest of a file; 0 if it has no file descriptor."""
    try:
        return os.fstat(file.fileno()).st_size - start
    except (AttributeError, OSError, ValueError):
        return 0


def _wait(wait: Wait, until_ns: int) -> None:
    at_ns = until_ns if wait.at_ns is None else min(wait.at_ns, until_ns)
    with suppress(TimeoutError):
        wait.woken.result(max(at_ns - now_ns(), 0) / SECOND)
