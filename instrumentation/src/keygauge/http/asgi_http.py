"""One request as it passes: what the messages between server and app tell, written into its call."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, MutableMapping
from copy import copy
from pathlib import Path
from typing import Any

from keygauge.clock import now_ns
from keygauge.http import event_loop, preflight, route
from keygauge.http.layers import HostSearch, Walk
from keygauge.http.problem import Answer
from keygauge.http.request_body import Empty, RequestBody
from keygauge.http.responder import LAST_EVENTS, LEFT, MOST_PASSED, PASSED_BYTES, Responder
from keygauge.limits.estimate import Estimate
from keygauge.limits.headers import Fields
from keygauge.limits.model_names import in_address
from keygauge.telemetry import tracing
from keygauge.telemetry.tracing import current as current_context
from keygauge.usage.counts import UNTOLD
from keygauge.usage.messages import MessageReader, document_in

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_FILES = frozenset({"http.response.pathsend", "http.response.zerocopysend"})
_SOON_S = 0.05
_SWITCHED = 101
_FAILURES = frozenset({1011, 1012, 1013, 1014})  # RFC 6455 and its registry: what a server ends a session with


class AsgiResponder(Responder, eq=False):
    """What is alike for HTTP and WebSocket."""

    scope: Scope
    path: str  # as it came; Litestar cuts that of the scope
    app: App
    host: HostSearch
    _receive: Receive
    _send: Send

    @property
    def query(self) -> str:
        """The request's query."""
        query = self.scope.get("query_string")
        return bytes(query).decode("latin-1") if query else ""

    def find_route(self) -> str | None:
        """Return the route that the host has for the request; None where that cannot be told."""
        scope, noted = self.scope, self.call.matched
        if "route" not in scope and "app" not in scope and "router" not in scope and not self.host.finds():
            return noted or scope.get("path_template")
        return route.find(scope, self.app, path=self.path, noted=noted)

    def watch(self, server: object) -> None:
        """Take note of the server's side of the request."""

    def finish(self) -> None:
        """End with the app, if the call has not ended before."""
        if not self._settled or self._rest is not None:
            self.end(complete=False, last=True)

    @property
    def is_cross_origin(self) -> bool:
        """Tell whether a browser asks for a page of another origin, or may do."""
        return any(name == b"origin" for name, _ in self.scope["headers"])

    def follow(self) -> Walk:
        """Follow the request through the host, as it will pass it on."""
        return route.follow(self.scope, self.app, noted=self.call.matched)

    def _address(self) -> dict[str, Any]:
        """Return what the address says: path, query, and the path's parameters."""
        return {"path": self.path, "method": self.call.method, "query": self.query, "params": self._params}


class HttpResponder(AsgiResponder, eq=False):
    """An HTTP request and its answer."""

    _awaits_trailers: bool = False
    _cycle: Any = None  # uvicorn's, which knows when the client left, though the app does not ask

    def watch(self, server: object) -> None:
        """Ask the server's side of the request whether the client left, where it can tell."""
        if hasattr(server, "disconnected"):
            self._cycle = server

    async def estimate(self, *, waits: bool) -> Estimate:
        """Read the body's beginning, where the decision `waits` for it, and estimate what the call will use.

        Raises:
            EstimateError: a declared cap makes no sense.
        """
        request_body = RequestBody(self._receive)
        self._receive = request_body.receive
        return await request_body.estimate(self.scope["headers"], waits=waits, **self._address())

    def is_answered(self) -> bool:
        """Tell whether the host answers this preflight without a handler; it gets no body, which HTTP/2 may hide."""
        if not preflight.is_answered(self.follow().layers):
            return False
        self._receive = Empty(self._receive).receive
        return True

    async def refuse(self, answer: Answer) -> None:
        """Answer in the app's place."""
        status, headers, body = answer
        if self.may_name_model:
            try:
                await self._read_model()
            except Exception:  # noqa: BLE001 - the server's, of a body that nobody needs
                self.runtime.fault("read")
        self.call.status = status
        self.call.response_bytes = len(body)
        self.end(complete=True)
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})

    async def _read_model(self) -> None:
        """Read what has come of a body that is none of the app's, since it may name the model; hardly wait for it."""
        told = dict(self.scope["headers"])
        if told.get(b"content-length", b"0") != b"0" and b"expect" not in told:
            message = await event_loop.soon(self._receive(), _SOON_S)
            self._note_sent((message or {}).get("body", b""))

    async def receive(self) -> Message:
        """Pass a message of the client on, counted."""
        message = await self._receive()
        body = message.get("body")
        if body:
            if not self._settled:
                self.call.request_bytes += len(body)
                self._note_sent(body)
        elif message["type"] == "http.disconnect":
            self._is_gone = True  # the app may still end its answer by itself
        return message

    async def send(self, message: Message) -> None:
        """Pass a message of the app on, read.

        The last one settles first: an event that is on disk before the answer's end cannot be lost by a kill after it.
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
        except OSError:  # ASGI 2.4: how a server says that the client left
            if not self._is_gone and not self._settled:
                self.call.response_bytes -= len(message.get("body", b""))
            self._is_gone = True
            raise

    def _puts_off_body(self, message: Message) -> bool:
        cycle = self._cycle
        is_gone = self._is_gone or (cycle is not None and cycle.disconnected)
        return message.get("more_body", False) and not is_gone and self._puts_off(message.get("body"))

    def _take(self, message: Message) -> Message:
        """Read a message; return what to send in its place."""
        kind, call, cycle = message["type"], self.call, self._cycle
        if cycle is not None and cycle.disconnected:
            self._is_gone = True
        if kind == "http.response.body":
            if call.status:  # before its start it is no answer
                is_first = not call.first_byte_ns
                if body := message.get("body"):
                    self._read(body)
                if not message.get("more_body", False) and not self._awaits_trailers:
                    if is_first:  # and the last: the clock is read once
                        call.ended_ns = call.ended_ns or call.first_byte_ns
                    self.end(complete=self._is_whole())
        elif kind == "http.response.start" and not self._settled:
            return self._start(message)
        elif kind == "http.response.trailers":
            self._take_trailers(message)
        elif kind in _FILES:
            self._take_file(message)
        return message

    def _take_file(self, message: Message) -> None:
        """Count what the server sends by itself: a file, or a part of an open one."""
        size = _part_size(message) if "file" in message else _file_size(message["path"])
        self.call.response_bytes += 0 if self._has_no_body or self._settled else size
        if not message.get("more_body", False):
            self.end(complete=self._is_whole())

    def _take_trailers(self, message: Message) -> None:
        """Read what comes after the body; the last of it ends the answer."""
        told = {name.lower(): value for name, value in message.get("headers", ())}
        self.headers = {**self.headers, **told}
        if not message.get("more_trailers", False):
            self.end(complete=not self._is_gone)

    def _start(self, message: Message) -> Message:
        call = self.call
        try:
            call.status = LEFT if self._is_gone else message["status"]
            if call.context is None and current_context():  # of an instrumentation inside of KeyGauge, by now
                tracing.find_inside(call)
            headers: Fields = message.get("headers", ())
            told = dict(headers)
            if b"content-type" not in told:  # ASGI has names in lower case, Django as they were given
                told = {name.lower(): value for name, value in headers}
            self.headers = told
            self._length = told.get(b"content-length")
            self._expect(told.get(b"content-type"), told.get(b"content-encoding"))
            self._awaits_trailers = message.get("trailers", False)
            if call.policy is None:
                return message
            return {**message, "headers": [*headers, *call.policy.fields(call.policy.as_bytes, now_ns(), told)]}
        except Exception:  # noqa: BLE001 - ours, never the host's
            self.runtime.fault("start")
            return message


class WebSocketResponder(AsgiResponder, eq=False):
    """A WebSocket session; its status is 101 once accepted, and 403 when the host refuses it."""

    def finish(self) -> None:
        """End with the app: a session that it leaves open the server closes."""
        self.end(complete=self.call.status == _SWITCHED, last=True)

    def is_answered(self) -> bool:
        """Tell that a handshake is no preflight."""
        return False

    async def estimate(self, *, waits: bool) -> Estimate:  # noqa: ARG002 - a handshake has no body
        """Know of a session beforehand which model its address names, as OpenAI's do; "" is one that nobody may use."""
        return Estimate(named=in_address(self.path, self.query, self._params) or ("",))

    async def refuse(self, answer: Answer) -> None:
        """Refuse the handshake in the app's place: with the whole answer where the server can, else with its 403."""
        status, headers, body = answer
        can_answer = "websocket.http.response" in (self.scope.get("extensions") or {})
        self.call.status = status if can_answer else 403
        self.end(complete=True)
        await self._receive()
        if can_answer:
            await self._send({"type": "websocket.http.response.start", "status": status, "headers": headers})
            await self._send({"type": "websocket.http.response.body", "body": body})
        else:
            await self._send({"type": "websocket.close", "code": 1008})

    async def receive(self) -> Message:
        """Pass a message of the client on, counted."""
        message = await self._receive()
        if message["type"] == "websocket.receive" and not self._settled:
            self.call.request_bytes += _size(message)
        elif message["type"] == "websocket.disconnect":
            self._is_gone = True
            self.end(complete=bool(self.call.status))
        return message

    def _read_message(self, message: Message) -> None:
        call = self.call
        call.response_bytes += _size(message)
        call.messages += 1
        if not call.first_byte_ns:
            call.first_byte_ns = now_ns()
        document = document_in(message.get("text"), message.get("bytes"))
        if document is not None:
            self._reader = self._reader or MessageReader()
            self.runtime.attempt("read", self._reader.feed, document)
        if call.reservation is not None and (document is not None or call.usage is not None):
            self.runtime.attempt("charge", self._charge)

    def _charge(self) -> None:
        """Charge limits with what the session used since they were last charged: it may go on for hours."""
        call, reader = self.call, self._reader
        read = reader if isinstance(reader, MessageReader) else None
        usage = call.usage or (read and read.usage)
        authorizer = self.runtime.authorizer
        if authorizer is None or not usage or usage in (UNTOLD, call.charged):
            return
        part = copy(call)
        part.usage, part.usage_status = usage, "reported"
        part.model = call.model or (read and read.model) or next(iter(in_address(self.path, self.query)), None)
        rules = self.runtime.providers
        part.provider = call.provider or (
            part.model and rules.of_request(call.route, self.path, part.model, call.providers)
        )
        part.reservation, call.reservation = call.reservation.split()
        call.charged = usage
        authorizer.settle(part)

    async def send(self, message: Message) -> None:
        """Pass a message of the app on, counted."""
        if not self._settled:
            self._take(message)
        try:
            await self._send(message)
        except OSError:
            self._is_gone = True
            raise

    def _take(self, message: Message) -> None:
        kind = message["type"]
        call = self.call
        if kind == "websocket.send":
            self._read_message(message)
        elif kind == "websocket.accept":
            call.status = _SWITCHED
            call.stream = "websocket"
            self.runtime.aggregator.stream_opened("websocket")
        elif kind == "websocket.http.response.start":
            call.status = message["status"]
        elif kind == "websocket.http.response.body":
            call.response_bytes += len(message.get("body", b""))
            if not message.get("more_body", False):
                self.end(complete=True)
        elif kind == "websocket.close":
            call.status = call.status or 403
            if message.get("code") in _FAILURES:
                self._break(f"websocket_{message['code']}")
            self.end(complete=True)


def _file_size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:  # the server will say so
        return 0


def _part_size(message: Message) -> int:
    """Count what a server sends of an open file: from where it is to its end, where that is not said."""
    count, offset = message.get("count"), message.get("offset")
    if count is not None:
        return int(count)
    try:
        start = os.lseek(message["file"], 0, os.SEEK_CUR) if offset is None else offset
        return max(os.fstat(message["file"]).st_size - start, 0)
    except OSError:
        return 0


def _size(message: Message) -> int:
    """Count a WebSocket message's bytes."""
    data = message.get("bytes")
    return len(data) if data is not None else len((message.get("text") or "").encode())
