"""The beginning of a request's body, read before the app gets it, and then given to the app unchanged."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from keygauge.limits.estimate import Estimate, estimate
from keygauge.limits.request_fields import BODY_BYTES_MAX

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]


class RequestBody:
    """Replays what was read ahead; the rest passes as it comes."""

    __slots__ = ("_read", "_receive")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._read: deque[Message] = deque()

    async def receive(self) -> Message:
        """Return the next message, those read ahead first."""
        return self._read.popleft() if self._read else await self._receive()

    async def estimate(self, headers: Iterable[tuple[bytes, bytes]], *, waits: bool, **address: Any) -> Estimate:
        """Read up to a bound and estimate what the call will use.

        A body that is declared longer is left to the app, and so is one whose client waits to be asked for it, unless
        the decision `waits` for it.

        Raises:
            EstimateError: a declared cap makes no sense.
        """
        told: dict[bytes, str] = {}
        for name, value in headers:  # of several, apps take the first, the last or all
            told[name] = f"{told[name]}, {value.decode('latin-1')}" if name in told else value.decode("latin-1")
        declared = told.get(b"content-length", "")
        size = int(declared) if declared.isdecimal() else 0
        parts: list[bytes] = []
        if size <= BODY_BYTES_MAX and (waits or not _is_expected(told.get(b"expect", ""))):
            size = await self._read_ahead(parts, declared=size)
        elif size == 0:
            size = BODY_BYTES_MAX + 1
        return estimate(
            b"".join(parts),
            length=size,
            content_type=told.get(b"content-type", ""),
            content_encoding=told.get(b"content-encoding", ""),
            **address,
        )

    async def _read_ahead(self, parts: list[bytes], *, declared: int) -> int:
        """Read up to the bound; return the size that the body has, or is to be taken for where it goes on."""
        size, more = 0, True
        while more and size <= BODY_BYTES_MAX:
            message = await self._receive()
            self._read.append(message)
            part = message.get("body", b"")
            parts.append(part)
            size += len(part)
            more = message["type"] == "http.request" and message.get("more_body", False)
        return max(size, declared, BODY_BYTES_MAX + 1) if more else size


class Empty:
    """A body that is empty, whatever the client sends; its leaving passes."""

    __slots__ = ("_is_given", "_receive")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._is_given = False

    async def receive(self) -> Message:
        """Return the empty body, then the client's leaving."""
        if not self._is_given:
            self._is_given = True
            return {"type": "http.request", "body": b"", "more_body": False}
        while (message := await self._receive())["type"] == "http.request":
            pass
        return message


def estimate_input(environ: MutableMapping[str, Any], *, waits: bool = True, **address: Any) -> Estimate:
    """Estimate what a WSGI call will use; what is read of its body is put back. `waits` as of `RequestBody.estimate`.

    Raises:
        EstimateError: a declared cap makes no sense.
    """
    body, length = b"", _length(environ)
    if length <= BODY_BYTES_MAX and (waits or not _is_expected(environ.get("HTTP_EXPECT", ""))):
        body, length = _read_input(environ, length)
    elif length == 0:
        length = BODY_BYTES_MAX + 1
    return estimate(
        body,
        length=length,
        content_type=environ.get("CONTENT_TYPE") or "",
        content_encoding=environ.get("HTTP_CONTENT_ENCODING", ""),
        **address,
    )


def _length(environ: MutableMapping[str, Any]) -> int:
    text = environ.get("CONTENT_LENGTH") or ""
    return int(text) if text.isascii() and text.isdigit() else 0


def _read_input(environ: MutableMapping[str, Any], length: int) -> tuple[bytes, int]:
    """Read a body that is short enough, and put it back: what was read, and the length to count with.

    Where a stream ends by itself the app may read all of it, whatever length is declared; where it does not, an app
    that reads what comes in chunks reads more than we may.
    """
    stream = environ["wsgi.input"]
    if environ.get("wsgi.input_terminated") or _is_buffered(stream):  # hypercorn has read the whole body
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
    """Read a body that the server has read whole; nothing of one that would have to be waited for."""
    stream = environ["wsgi.input"]
    return bytes(getattr(stream, "_stream", stream).read(BODY_BYTES_MAX)) if _is_buffered(stream) else b""


def _is_buffered(stream: Any) -> bool:
    """Tell whether a server has read the whole body before."""
    return isinstance(getattr(stream, "_stream", stream), io.BytesIO)


def _is_expected(text: str) -> bool:
    """Tell whether a client waits to be told to send its body (RFC 9110, 10.1.1)."""
    return text.strip().lower() == "100-continue"


class _Replay(io.RawIOBase):
    """A long body whose beginning was read ahead."""

    def __init__(self, head: bytes, rest: Any) -> None:
        self._head = io.BytesIO(head)
        self._rest = rest

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read some of it, what was read ahead first."""
        part = self._head.read(len(buffer)) or self._rest.read(len(buffer))
        buffer[: len(part)] = part
        return len(part)
