"""The beginning of a request's body, read before the app gets it, and then given to the app unchanged."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from keygauge.limits.estimate import BODY_BYTES_MAX, Estimate, estimate

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

    async def estimate(self, *, path: str, headers: Iterable[tuple[bytes, bytes]]) -> Estimate:
        """Read up to a bound and estimate what the call will use.

        Raises:
            EstimateError: a declared cap makes no sense.
        """
        parts: list[bytes] = []
        size, more = 0, True
        while more and size <= BODY_BYTES_MAX:
            message = await self._receive()
            self._read.append(message)
            part = message.get("body", b"")
            parts.append(part)
            size += len(part)
            more = message["type"] == "http.request" and message.get("more_body", False)
        body = b"".join(parts)
        return estimate(body, length=max(size, _declared(headers)) if more else size, path=path)


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


def estimate_input(environ: MutableMapping[str, Any]) -> Estimate:
    """Estimate what a WSGI call will use; a body that is short enough is read and put back.

    Raises:
        EstimateError: a declared cap makes no sense.
    """
    text = environ.get("CONTENT_LENGTH") or ""
    length = int(text) if text.isascii() and text.isdigit() else 0
    body = b""
    if 0 < length <= BODY_BYTES_MAX:
        body = environ["wsgi.input"].read(length)
        environ["wsgi.input"] = io.BytesIO(body)
        length = len(body)
    elif not text and environ.get("wsgi.input_terminated"):  # it comes in chunks, and ends by itself
        rest = environ["wsgi.input"]
        body = rest.read(BODY_BYTES_MAX + 1)
        length = len(body)
        whole = length <= BODY_BYTES_MAX
        environ["wsgi.input"] = io.BytesIO(body) if whole else io.BufferedReader(_Replay(body, rest))
    return estimate(body, length=length, path=environ.get("PATH_INFO", ""))


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


def _declared(headers: Iterable[tuple[bytes, bytes]]) -> int:
    """Return the length that the client declared for a body that is not read to its end; 1 more than the bound else."""
    for name, value in headers:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return BODY_BYTES_MAX + 1
