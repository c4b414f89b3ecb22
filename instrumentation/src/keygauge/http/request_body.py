"""A request's body: read ahead as far as needed, then passed to the app unchanged and counted."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any

from msgspec import Struct

from keygauge.http.request import Request
from keygauge.limits.reading.request_fields import BODY_BYTES_MAX

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]


class RequestBody:
    """A replay of what was read ahead; the rest passes as it arrives."""

    __slots__ = ("_read", "_receive")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._read: deque[Message] = deque()

    async def receive(self) -> Message:
        """Return the next message, those read ahead first."""
        return self._read.popleft() if self._read else await self._receive()

    async def read_ahead(self, declared: int) -> tuple[bytes, int]:
        """Read up to the limit; return that, and the body's size, or an assumed one if there is more."""
        parts, size, more = list[bytes](), 0, True
        while more and size <= BODY_BYTES_MAX:
            message = await self._receive()
            self._read.append(message)
            part = message.get("body", b"")
            parts.append(part)
            size += len(part)
            more = message["type"] == "http.request" and message.get("more_body", False)
        return b"".join(parts), max(size, declared, BODY_BYTES_MAX + 1) if more else size


class Empty:
    """An empty body in place of what the client sends; its disconnect is passed on."""

    __slots__ = ("_is_given", "_receive")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._is_given = False

    async def receive(self) -> Message:
        """Return the empty body, then the client's disconnect."""
        if not self._is_given:
            self._is_given = True
            return {"type": "http.request", "body": b"", "more_body": False}
        while (message := await self._receive())["type"] == "http.request":
            pass
        return message


class CountedInput(Struct, eq=False):
    """The request's body for the app: counts what the app reads, and reads no more than that."""

    _stream: Any
    _request: Request
    _left_bytes: int | None = None  # of its declared length

    def read(self, *size: int) -> bytes:
        """Read from the server's stream."""
        return self._pass(self._stream.read, *size)

    def readline(self, *size: int) -> bytes:
        """Read a line from the server's stream."""
        return self._pass(self._stream.readline, *size)

    def readlines(self, *hint: int) -> list[bytes]:
        """Read lines from the server's stream."""
        return [self._count(line) for line in self._stream.readlines(*hint)]

    def __iter__(self) -> Iterator[bytes]:
        return map(self._count, self._stream)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._stream, name)
        return self._readinto if name == "readinto" else found  # optional in servers, so apps check for it

    def _readinto(self, buffer: Any) -> int | None:
        size = self._stream.readinto(buffer)
        if size:  # None if no data is available yet
            self._request.note_sent(bytes(memoryview(buffer)[:size]))
        return size  # type: ignore[no-any-return]  # a server's stream has no type

    def _pass(self, read: Callable[..., bytes], *size: int) -> bytes:
        try:
            data = read(*size)
        except OSError:  # the client left
            self._request.note_left()
            raise
        return self._count(data, ends=not data and size[:1] != (0,))

    def _count(self, data: bytes, *, ends: bool = False) -> bytes:
        if self._left_bytes is not None:
            self._left_bytes -= len(data)
            if ends and self._left_bytes > 0:  # a shorter body than declared: the client left
                self._request.note_left()
        self._request.note_sent(data)
        return data


def read_input(environ: MutableMapping[str, Any], length: int) -> tuple[bytes, int]:
    """Read a body that is short enough, and put it back; return what was read, and the length to assume.

    If the stream ends by itself, the app may read all of it, regardless of the declared length. If it does not, an app
    may read a chunked body, but the middleware may not.
    """
    stream = environ["wsgi.input"]
    if environ.get("wsgi.input_terminated") or _is_buffered(stream):  # hypercorn reads the whole body first
        body = stream.read(BODY_BYTES_MAX + 1)
        is_whole = len(body) <= BODY_BYTES_MAX
        environ["wsgi.input"] = io.BytesIO(body) if is_whole else io.BufferedReader(_Replay(body, stream))
        return body, len(body)
    if "HTTP_TRANSFER_ENCODING" in environ:
        return b"", BODY_BYTES_MAX + 1
    body = stream.read(length) if length else b""
    environ["wsgi.input"] = io.BytesIO(body) if length else stream
    return body, len(body)


def read_buffered(environ: MutableMapping[str, Any]) -> bytes:
    """Read a body that the server has buffered; empty if reading it might block."""
    stream = environ["wsgi.input"]
    return bytes(getattr(stream, "_stream", stream).read(BODY_BYTES_MAX)) if _is_buffered(stream) else b""


def _is_buffered(stream: Any) -> bool:
    """Return whether the server has already read the whole body."""
    return isinstance(getattr(stream, "_stream", stream), io.BytesIO)


class _Replay(io.RawIOBase):
    """A long body with its beginning read ahead."""

    def __init__(self, head: bytes, rest: Any) -> None:
        self._head = io.BytesIO(head)
        self._rest = rest

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer, the part read ahead first."""
        part = self._head.read(len(buffer)) or self._rest.read(len(buffer))
        buffer[: len(part)] = part
        return len(part)
