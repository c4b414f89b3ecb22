"""One request as it passes: what the messages between server and app tell, written into its call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from keygauge import route
from keygauge.call import Call
from keygauge.clock import now_ns
from keygauge.estimate import Estimate
from keygauge.problem import Answer
from keygauge.ratelimit import Fields
from keygauge.runtime import Runtime
from keygauge.upload import Upload
from keygauge.usage import Reader, reader_for

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_SWITCHED = 101
_LEFT = 499  # the status of a call whose client left before the answer began
_FAILED = 500


class Exchange:
    """What is alike for HTTP and WebSocket: settle once, whatever happens."""

    __slots__ = ("_reader", "_receive", "_send", "_settled", "call", "runtime", "scope")

    def __init__(self, call: Call, runtime: Runtime, scope: Scope, receive: Receive, send: Send) -> None:
        self.call = call
        self.runtime = runtime
        self.scope = scope
        self._receive = receive
        self._send = send
        self._reader: Reader | None = None  # of an HTTP answer
        self._settled = False
        runtime.aggregator.started(call.method)

    def end(self, *, complete: bool, error: BaseException | None = None) -> None:
        """Settle the call; the first time counts, so that background work after the answer does not."""
        if self._settled:
            return
        self._settled = True
        call = self.call
        try:
            self._conclude(complete=complete)
            if call.status == 0:
                call.status = _FAILED if isinstance(error, Exception) else _LEFT
            if error is not None:
                call.error = type(error).__qualname__
            elif not complete:
                call.error = "client_disconnected"
            elif call.status >= _FAILED and call.error is None:
                call.error = str(call.status)
        except Exception:  # noqa: BLE001 - ours, never the host's
            self.runtime.fault("conclude")
        try:
            self.runtime.settle(call)
        except Exception:  # noqa: BLE001 - ours, never the host's
            self.runtime.fault("settle")

    def _conclude(self, *, complete: bool) -> None:
        call = self.call
        if call.stream:
            self.runtime.aggregator.stream_closed(call.stream)
        if "route" in self.scope:
            call.route = route.template(self.scope)
        if self._reader is None:
            return
        usage, model, provider, status, missing = self._reader.close(complete=complete)
        call.model = call.model or model
        call.provider = call.provider or provider
        if call.usage is None:  # what the app itself stated wins
            call.usage = usage
            call.usage_status = status
            if call.model is not None or missing != "no_usage":
                call.missing = missing


class HttpExchange(Exchange):
    """An HTTP request and its answer."""

    __slots__ = ()

    async def estimate(self) -> Estimate:
        """Read the body's beginning and estimate what the call will use; the app gets it all the same.

        Raises:
            EstimateError: a declared cap makes no sense.
        """
        upload = Upload(self._receive)
        self._receive = upload.receive
        return await upload.estimate(path=self.scope["path"], headers=self.scope["headers"])

    async def refuse(self, answer: Answer) -> None:
        """Answer in the app's place."""
        status, headers, body = answer
        self.call.status = status
        self.call.response_bytes = len(body)
        self.end(complete=True)
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})

    async def receive(self) -> Message:
        """Pass a message of the client on, counted."""
        message = await self._receive()
        body = message.get("body")
        if body:
            self.call.request_bytes += len(body)
        return message

    async def send(self, message: Message) -> None:
        """Pass a message of the app on, read.

        The last one settles first: an event that is on disk before the answer's end cannot be lost by a kill after it.
        """
        kind = message["type"]
        if kind == "http.response.body":
            body = message.get("body")
            if body:
                self._read(body)
            if not message.get("more_body", False):
                self.end(complete=True)
        elif kind == "http.response.start":
            message = self._start(message)
        elif kind == "http.response.pathsend":  # the server sends a file by itself
            self.end(complete=True)
        await self._send(message)

    def _start(self, message: Message) -> Message:
        call = self.call
        try:
            call.status = message["status"]
            headers = list(message.get("headers", ()))
            content_type = content_encoding = None
            for name, value in headers:
                if name == b"content-type":
                    content_type = value
                elif name == b"content-encoding":
                    content_encoding = value
            self._reader = reader_for(content_type, content_encoding)
            if content_type is not None and content_type.startswith(b"text/event-stream"):
                call.stream = "sse"
                self.runtime.aggregator.stream_opened("sse")
            gate = self.runtime.gate
            fields: Fields = gate.fields(call) if gate else []
            return {**message, "headers": headers + fields} if fields else message
        except Exception:  # noqa: BLE001 - ours, never the host's
            self.runtime.fault("start")
            return message

    def _read(self, body: bytes) -> None:
        call = self.call
        call.response_bytes += len(body)
        if not call.first_byte_ns:
            call.first_byte_ns = now_ns()
        if call.stream:
            call.messages += 1
        if self._reader is not None:
            self._reader.feed(body)


class WebSocketExchange(Exchange):
    """A WebSocket session; its status is 101 once accepted, and 403 when the host refuses it."""

    __slots__ = ()

    async def estimate(self) -> Estimate:
        """Know nothing of a session beforehand."""
        return Estimate()

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
        if message["type"] == "websocket.receive":
            self.call.request_bytes += _size(message)
        elif message["type"] == "websocket.disconnect":
            self.end(complete=True)
        return message

    async def send(self, message: Message) -> None:
        """Pass a message of the app on, counted."""
        kind = message["type"]
        call = self.call
        if kind == "websocket.send":
            call.response_bytes += _size(message)
            call.messages += 1
            if not call.first_byte_ns:
                call.first_byte_ns = now_ns()
        elif kind == "websocket.accept":
            call.status = _SWITCHED
            call.stream = "websocket"
            self.runtime.aggregator.stream_opened("websocket")
        elif kind == "websocket.http.response.start":
            call.status = message["status"]
        elif kind == "websocket.close":
            call.status = call.status or 403
            self.end(complete=True)
        await self._send(message)


def _size(message: Message) -> int:
    """Count a WebSocket message's bytes."""
    data = message.get("bytes")
    return len(data) if data is not None else len((message.get("text") or "").encode())
