"""The ASGI driver of a WebSocket session: one request, whose messages are read as they pass."""

from __future__ import annotations

from copy import copy

from msgspec.json import encode

from keygauge.clock import now_ns
from keygauge.http.asgi_http import AsgiRequest, Message, send_answer
from keygauge.limits.reading.estimate import Estimate
from keygauge.limits.reading.model_names import in_address
from keygauge.limits.refusal import Refusal
from keygauge.usage import request_model
from keygauge.usage.counts import UNREPORTED, Usage, fitted
from keygauge.usage.formats.messages import MessageReader, document_in

_SWITCHED, _FORBIDDEN = 101, 403
_EARLY = 4  # first messages of the app, which may name the session's model
_FAILURES = frozenset({1011, 1012, 1013, 1014})  # server-side failures in RFC 6455 and its registry


class WebSocketRequest(AsgiRequest, eq=False):
    """A WebSocket session; its status is 101 once accepted, 403 if the host refuses it."""

    _asked: str | None = None  # the model requested in the client's messages

    def finish(self) -> None:
        """End the call with the app: the server closes a session that the app leaves open."""
        self.end(complete=self.call.status == _SWITCHED, last=True)

    async def read_ahead(self, length: int) -> tuple[bytes, int]:
        """Read nothing: a handshake has no body."""
        return b"", length

    def estimate(self, body: bytes, length: int) -> Estimate:  # noqa: ARG002 - it has none
        """Estimate only the model, from the URL, as in OpenAI's; "" if it names none, which is not an allowed model."""
        return Estimate(named=in_address(self.path, self.query, self._params) or ("",), tools=None)

    async def answer(self, refusal: Refusal) -> None:
        """Refuse the handshake in the app's place: with the full answer if the server can send it, else with a 403."""
        can_answer = "websocket.http.response" in (self.scope.get("extensions") or {})
        answer = self.refuse(refusal, status=None if can_answer else _FORBIDDEN)
        await self._receive()
        if can_answer:
            await send_answer(answer, self._send, kind="websocket.http.response")
        else:
            await self._send({"type": "websocket.close", "code": 1008})

    async def receive(self) -> Message:
        """Pass on and count a client's message."""
        message = await self._receive()
        if message["type"] == "websocket.receive" and not self._settled:
            self.call.request_bytes += _size(message)
            if self._asked is None and self.call.request_bytes <= request_model.HEAD_BYTES:
                self.runtime.attempt("read", self._seek_model, message)
        elif message["type"] == "websocket.disconnect":
            self._is_gone = True
            self.end(complete=bool(self.call.status))
        return message

    def _seek_model(self, message: Message) -> None:
        """Look for the session's model in the client's first messages."""
        text, data = message.get("text"), message.get("bytes")
        sent = text.encode() if text is not None else data or b""
        if sent.rfind(b'"model"') < 0:
            return
        self._asked = next(iter(in_address(self.path, self.query)), None)  # fixed for the session
        if self._asked is None and (model := request_model.find_in_message(sent)):
            self._asked, self.sent_first = model, encode({"model": model})
            self.sent_last = self.sent_first

    def _read_message(self, message: Message) -> None:
        call = self.call
        call.response_bytes += _size(message)
        call.messages += 1
        if not call.first_byte_ns:
            call.first_byte_ns = now_ns()
        document = document_in(message.get("text"), message.get("bytes"), is_early=call.messages <= _EARLY)
        if document is not None:
            self.runtime.attempt("read", self._feed, document)
        if call.reservation is not None and (document is not None or call.usage is not None):
            self.runtime.attempt("charge", self._charge)

    def _feed(self, document: bytes) -> None:
        """Read a message, and count ended answers at once, as the session may last for hours."""
        call, reader = self.call, self._reader
        if not isinstance(reader, MessageReader):
            self._reader = reader = MessageReader()
        reader.feed(document)
        ended = reader.take_ended()
        if call.usage is None:  # else the app records the usage
            for part in ended:
                charged, call.charged = call.charged, call.charged and UNREPORTED
                reading = part.reading._replace(model=self._model(part.reading.model))
                self.runtime.attempt("others", self.settle_part, part._replace(reading=reading), charged=charged)

    def _model(self, named: str | None) -> str | None:
        """Return the model that a message names, else the session's."""
        return named or next(iter(in_address(self.path, self.query)), self._asked)

    def _charge(self) -> None:
        """Charge limits with the session's usage since the last charge: it may last for hours."""
        call, reader = self.call, self._reader
        if call.usage is None:
            usage, model = reader.last if isinstance(reader, MessageReader) else (UNREPORTED, None)
            call.charged = self._charge_with(usage, call.charged, call.model or model, call.provider)
            return
        for model, stated in call.others.items():
            charged = self._charge_with(stated.usage, stated.charged or UNREPORTED, model, stated.provider)
            call.others = {**call.others, model: stated._replace(charged=charged)}
        call.charged = self._charge_with(call.usage, call.charged, call.model, call.provider)

    def _charge_with(
        self, usage: Usage, charged: Usage | None, model: str | None, provider: str | None
    ) -> Usage | None:
        """Charge limits with usage not charged yet, and return all usage charged so far."""
        call, authorizer, rules = self.call, self.runtime.authorizer, self.runtime.providers
        usage = fitted(usage)[0]
        if authorizer is None or usage in (UNREPORTED, charged):
            return charged
        part = copy(call)
        part.usage, part.usage_status, part.charged = usage, "reported", charged
        part.model = self._model(model)
        part.provider = provider or (part.model and rules.of_request(call.route, self.path, part.model, call.providers))
        part.reservation, call.reservation = call.reservation.split()
        authorizer.settle(part)
        return usage

    async def send(self, message: Message) -> None:
        """Pass on and count a message of the app."""
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
            self.runtime.streams.add(call)
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


def _size(message: Message) -> int:
    """Return the size of a WebSocket message in bytes."""
    data = message.get("bytes")
    return len(data) if data is not None else len((message.get("text") or "").encode())
