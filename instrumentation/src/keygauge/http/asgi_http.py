"""The ASGI driver: it feeds a request with the messages between server and app, and sends its answer."""

from __future__ import annotations

import os
from asyncio import Queue
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from pathlib import Path
from typing import Any, cast

from keygauge.http import event_loop
from keygauge.http.problem import Answer
from keygauge.http.request import ReadAhead, Request, Waits
from keygauge.http.request_body import Empty, RequestBody
from keygauge.http.responder import LAST_EVENTS, MOST_PASSED, PASSED_BYTES
from keygauge.http.routing import route
from keygauge.http.routing.layers import HostSearch, Walk
from keygauge.limits.refusal import Refusal

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_FILES = frozenset({"http.response.pathsend", "http.response.zerocopysend"})
_SOON_S = 0.05


class AsgiRequest(Request, eq=False):
    """Base of HTTP and WebSocket requests."""

    scope: Scope
    app: App
    host: HostSearch
    _receive: Receive
    _send: Send
    _fields: dict[bytes, bytes] | None = None  # the request's headers, once needed

    @property
    def query(self) -> str:
        """The request's query string."""
        query = self.scope.get("query_string")
        return bytes(query).decode("latin-1") if query else ""

    @property
    def params(self) -> Mapping[str, Any] | None:
        """The path's parameters, if known: Starlette leaves those that it matched in the scope."""
        return self._params or self.scope.get("path_params")

    def header(self, name: str) -> str:
        """Return a header of the request; all values if it is repeated, "" if absent."""
        if self._fields is None:
            self._fields = _joined(self.scope["headers"])
        value = self._fields.get(name.encode())
        return "" if value is None else value.decode("latin-1")

    def follow(self) -> Walk:
        """Follow the request through the app's layers in the way it will be routed."""
        return route.follow(self.scope, self.app, noted=self.call.matched)

    def find_route(self) -> str | None:
        """Return the app's route for the request; None if it cannot be determined."""
        scope, noted = self.scope, self.call.matched
        if "route" not in scope and "app" not in scope and "router" not in scope and not self.host.finds():
            return noted or scope.get("path_template")
        return route.find(scope, self.app, path=self.path, noted=noted)

    def drop_body(self) -> None:
        """Give the app an empty body."""
        self._receive = Empty(self._receive).receive

    def watch(self, server: object) -> None:
        """Keep the server's object for the request, if it is useful."""

    def note_cancelled(self) -> None:
        """Record whether the client of a cancelled request has left."""

    def finish(self) -> None:
        """End the call when the app is done, if it has not ended yet."""
        if not self._settled or self._rest is not None:
            self.end(complete=False, last=True)

    async def wait(self, waits: Waits) -> Refusal | None:
        """Wait for what the decision needs, and return the decision."""
        try:
            need = next(waits)
            while True:
                if isinstance(need, ReadAhead):
                    need = waits.send(await self.read_ahead(need.length))
                else:
                    await event_loop.end_of(need.wait, need.until_ns)
                    need = next(waits)
        except StopIteration as decided:
            return cast("Refusal | None", decided.value)
        finally:
            waits.close()

    async def read_ahead(self, length: int) -> tuple[bytes, int]:
        """Read the start of the body; the app still receives all of it."""
        body = RequestBody(self._receive)
        self._receive = body.receive
        return await body.read_ahead(length)


class HttpRequest(AsgiRequest, eq=False):
    """An HTTP request and its answer."""

    _awaits_trailers: bool = False
    _cycle: Any = None  # the server's, which knows that the client left even if the app does not call `receive`

    def watch(self, server: object) -> None:
        """Keep the server's object for the request if it knows whether the client has left."""
        if hasattr(server, "disconnected"):  # uvicorn's
            self._cycle = server
        elif hasattr(server, "closed") and hasattr(server, "app_send"):
            self._cycle = HypercornStream(server)

    def note_cancelled(self) -> None:
        """Record whether the client of a cancelled request has left; the app may not have called `receive`."""
        cycle, queue = self._cycle, getattr(self._receive, "__self__", None)
        if cycle is not None:
            self._is_gone = self._is_gone or cycle.disconnected
        elif isinstance(queue, Queue):  # daphne's; it cancels a request whose client has left
            for _ in range(queue.qsize()):  # look at each message, and leave them all in their order
                message = queue.get_nowait()
                queue.put_nowait(message)
                self._is_gone = self._is_gone or message.get("type") == "http.disconnect"
        else:
            self._is_gone = self._is_gone or getattr(queue, "_closed", False) is True  # gunicorn's

    async def answer(self, refusal: Refusal) -> None:
        """Answer in place of the app."""
        if self.may_name_model:
            try:
                await self._read_model()
            except Exception:  # noqa: BLE001 - the server's error; the body is optional
                self.runtime.fault("read")
        await send_answer(self.refuse(refusal), self._send)

    async def _read_model(self) -> None:
        """Read the available part of a refused request's body, which may name the model; wait only briefly."""
        if self.header("content-length") not in {"", "0"} and not self.header("expect"):
            message = await event_loop.soon(self._receive(), _SOON_S)
            self.note_sent((message or {}).get("body", b""), is_read=False)

    async def receive(self) -> Message:
        """Pass on and count a client's message."""
        message = await self._receive()
        body = message.get("body")
        if body:
            self.note_sent(body)
        elif message["type"] == "http.disconnect":
            self._is_gone = True  # the app may still finish its answer
        return message

    async def send(self, message: Message) -> None:
        """Read and pass on a message of the app.

        The last one settles the call first: an event on disk before the answer's end survives a kill after it.
        """
        passed = self._passed
        if (
            passed is not None
            and len(passed) < MOST_PASSED
            and message.get("more_body")
            and type(body := message.get("body")) is bytes
            and len(body) <= PASSED_BYTES
            and not body.endswith(LAST_EVENTS)
            and not self._is_gone
            and (self._cycle is None or not self._cycle.disconnected)
        ):
            passed.append(body)
        else:
            message = self._take(message)
        try:
            await self._send(message)
        except OSError:  # ASGI 2.4: how a server reports that the client left
            if not self._is_gone and not self._settled:
                self.call.response_bytes -= len(message.get("body", b""))
            self._is_gone = True
            raise

    def _take(self, message: Message) -> Message:
        """Read a message; return what to send instead."""
        kind, call, cycle = message["type"], self.call, self._cycle
        if cycle is not None and (cycle.disconnected or (call.first_byte_ns and _is_lost(cycle))):
            self._is_gone = True
        if kind == "http.response.body":
            if call.status:  # else there was no start, so it is no answer
                is_first = not call.first_byte_ns
                if body := message.get("body"):
                    self.read(body)
                if not message.get("more_body", False) and not self._awaits_trailers:
                    if is_first:  # first and last: read the clock only once
                        call.ended_ns = call.ended_ns or call.first_byte_ns
                    self.end_body()
        elif kind == "http.response.start" and not call.status:  # a second one is not sent
            return self._start(message)
        elif kind == "http.response.trailers":
            self._take_trailers(message)
        elif kind in _FILES:
            self._take_file(message)
        return message

    def _take_file(self, message: Message) -> None:
        """Count a file, or part of an open one, that the server itself sends."""
        self.count_file(_part_size(message) if "file" in message else _file_size(message["path"]))
        if not message.get("more_body", False):
            self.end_body()

    def _take_trailers(self, message: Message) -> None:
        """Read the fields after the body; the last message ends the answer."""
        trailers = {name.lower(): value for name, value in message.get("headers", ())}
        self.headers = {**self.headers, **trailers}
        if not message.get("more_trailers", False):
            self.end(complete=not self._is_gone)

    def _start(self, message: Message) -> Message:
        given = message.get("headers", ())
        headers = self.begin(message["status"], given if type(given) is list else list(given))
        self._awaits_trailers = message.get("trailers", False)
        return message if headers is given else {**message, "headers": headers}


class HypercornStream:
    """Hypercorn's object for a request, with uvicorn's name for a client that left."""

    __slots__ = ("_stream",)

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    @property
    def disconnected(self) -> bool:
        """Whether the client left, as far as the server has noticed."""
        return bool(self._stream.closed)


def _is_lost(cycle: Any) -> bool:
    """Whether nothing more reaches the client of uvicorn, which it tells only once the app has awaited something."""
    transport = getattr(cycle, "transport", None)
    return transport is not None and transport.is_closing() and not transport.get_write_buffer_size()


def header_of(scope: Scope, name: str) -> str:
    """Return a header of a request; all values if it is repeated (apps take the first, the last or all)."""
    return _joined(scope["headers"]).get(name.encode(), b"").decode("latin-1")


def _joined(headers: Collection[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return headers by name, with all values of those that are repeated."""
    fields = dict(headers)
    if len(fields) == len(headers):
        return fields
    values: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        values.setdefault(name, []).append(value)
    return {name: b", ".join(each) for name, each in values.items()}


async def send_answer(answer: Answer, send: Send, *, kind: str = "http.response") -> None:
    """Send a complete answer."""
    await send({"type": f"{kind}.start", "status": answer.status, "headers": answer.headers})
    await send({"type": f"{kind}.body", "body": answer.body})


def _file_size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:  # the server will report it
        return 0


def _part_size(message: Message) -> int:
    """Return how much of an open file a server sends: by default from its position to its end."""
    count, offset = message.get("count"), message.get("offset")
    if count is not None:
        return int(count)
    try:
        start = os.lseek(message["file"], 0, os.SEEK_CUR) if offset is None else offset
        return max(os.fstat(message["file"]).st_size - start, 0)
    except OSError:
        return 0
