"""The answer to one call as it passes, without I/O: its start, its body and the usage in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from types import MappingProxyType
from typing import Any, ClassVar, ParamSpec, Protocol

from msgspec import Struct

from keygauge.call import PART, Call, Stated
from keygauge.clock import now_ns
from keygauge.limits.authorizer import Authorizer
from keygauge.telemetry import tracing
from keygauge.telemetry.aggregator import Aggregator
from keygauge.telemetry.tracing import current as current_context
from keygauge.usage import Reader, Usage, kind_of, operations
from keygauge.usage.counts import UNREPORTED
from keygauge.usage.formats.sse import read_events
from keygauge.usage.provider_rules import ProviderRules
from keygauge.usage.providers.names import provider_of
from keygauge.usage.reading import Part
from keygauge.usage.requested_models import RequestedModels

LEFT = 499  # status of a call whose client left before the answer began
LAST_EVENTS = (
    b"data: [DONE]\n\n",
    b"data: [DONE]\r\n\r\n",
    b'"message_stop"}\n\n',
    b'"message_stop" }\n\n',
)  # OpenAI, Anthropic
_BODILESS = frozenset({204, 304})
_NO_HEADERS: Mapping[Any, Any] = MappingProxyType({})  # a dict would be created for each call
_LAST_BYTES = max(map(len, LAST_EVENTS))
_AS_TEXT = ("content-type", "content-encoding", "content-length")
_AS_BYTES = (b"content-type", b"content-encoding", b"content-length")
MOST_PASSED = 32  # chunks of a stream that are read together
PASSED_BYTES = 1024  # size limit of such a chunk

P = ParamSpec("P")


class Recorder(Protocol):
    """The process-wide state that a request needs: `runtime` in production."""

    aggregator: Aggregator
    authorizer: Authorizer | None
    key_header: str | None  # the only header for keys; None: the usual ones
    answers: operations.Answers
    requested_models: RequestedModels
    estimates: frozenset[str]
    providers: ProviderRules
    streams: set[Call]  # the open ones

    def settle(self, call: Call) -> None:
        """Count an ended call and write its event; called once per call."""

    def attempt(self, step: str, do: Callable[P, object], *args: P.args, **options: P.kwargs) -> None:
        """Run one of KeyGauge's steps; a failure is counted and affects neither the app nor later steps."""

    def fault(self, reason: str) -> None:
        """Count and log a failure of KeyGauge itself; called in an except block."""


class Responder(Struct, kw_only=True, eq=False):
    """The state of an answer as it passes; its end ends the call."""

    is_text: ClassVar[bool] = False  # header fields are str (WSGI), not bytes

    call: Call
    path: str  # the original one
    runtime: Recorder
    headers: Mapping[Any, Any] = _NO_HEADERS  # of the answer
    is_document: bool = False  # the answer is JSON
    _has_no_body: bool = False  # HEAD, or a status without a body: the app's body is not sent
    _length: int | None = None  # the body's declared length
    _is_gone: bool = False  # the client left before the answer's end
    _is_over: bool = False  # the last event that clients read has passed
    _rest: Reader | None = None  # for the body after that event
    _sent_messages: int | None = None  # if more were read that were not sent
    _passed: list[bytes] | None = None  # chunks within a stream that are not read yet
    _reader: Reader | None = None  # for the answer's body, or a session's messages
    _settled: bool = False
    _spent: Any = None  # the call's reservation, once settled

    def end(self, *, complete: bool) -> None:
        """End the call."""
        raise NotImplementedError

    def begin(self, status: int | str, fields: list[Any]) -> list[Any]:
        """Read the answer's start, the last one if repeated; return its header fields plus those of the limits."""
        if self._settled:  # a call never changes after its event is written
            return fields
        call = self.call
        try:
            call.status = LEFT if self._is_gone else status if type(status) is int else int(status)
            if call.context is None and current_context():  # an inner instrumentation may have started a span by now
                tracing.find_inside(call)
            by_name: dict[Any, Any] = {} if self.is_text else dict(fields)
            kind, encoding, length = _AS_TEXT if self.is_text else _AS_BYTES
            if kind not in by_name:  # ASGI names are in lower case, WSGI's and Django's as given
                by_name = {name.lower(): value for name, value in fields}
            self.headers = by_name
            self._expect(by_name.get(kind), by_name.get(encoding), by_name.get(length))
            policy = call.policy
            if policy is not None:
                template = policy.as_text if self.is_text else policy.as_bytes
                return [*fields, *policy.fields(template, now_ns(), by_name)]
        except Exception:  # noqa: BLE001 - our failure, which must not reach the app
            self.runtime.fault("start")
        return fields

    def _expect(
        self, content_type: bytes | str | None, encoding: bytes | str | None, length: bytes | str | None
    ) -> None:
        """Choose the reader for the body that follows."""
        call = self.call
        self._has_no_body = call.method == "HEAD" or call.status in _BODILESS
        try:
            self._length = None if length is None else int(length)
        except ValueError:  # invalid; left to the server
            self._length = None
        kind = kind_of(content_type)
        make, self.is_document, stream = kind
        self._reader = kind.reader(encoding) if encoding else make and make()
        if stream:
            call.stream = stream
            self.runtime.streams.add(call)
        elif call.stream is not None:
            call.stream = None
            self.runtime.streams.discard(call)

    def read(self, body: bytes) -> None:
        """Read a chunk of the answer's body as it passes.

        In a stream, the last event that clients read settles the call if all usage has been reported, regardless of
        what the app does afterwards.
        """
        call = self.call
        if self._passed is not None:
            self._catch_up()
        if self._settled or self._is_gone or self._has_no_body:  # already read, or not sent
            self._read_unsent(body)
            return
        call.response_bytes += len(body)
        reader = self._reader
        if reader is not None:
            try:
                reader.feed(body)
            except Exception:  # noqa: BLE001 - our failure, which must not reach the app
                self.runtime.fault("read")
        if not call.first_byte_ns and (not call.stream or reader is None or reader.has_content):
            call.first_byte_ns = now_ns()
        if call.stream:
            self._read_event(body)

    def _read_unsent(self, body: bytes) -> None:
        """Read a body that the app makes for HEAD or a client that left, and what follows a stream's last event."""
        if not self._settled:
            if (self._is_gone or self.call.method == "HEAD") and self._reader is not None:
                if self._sent_messages is None:
                    self._sent_messages = self._reader.events
                self.runtime.attempt("read", self._reader.feed, body)
        elif self._is_over:
            self._rest = self._rest or read_events()
            self.runtime.attempt("read", self._rest.feed, body)

    def _read_event(self, body: bytes) -> None:
        """Handle a chunk of a stream: if it is not the last one, the next chunks may be read together."""
        call, reader = self.call, self._reader
        call.messages += 1
        if (body if type(body) is bytes else bytes(body[-_LAST_BYTES:])).endswith(LAST_EVENTS):
            self._is_over = True
            if reader is None or reader.is_final:
                self.end(complete=True)
        elif reader is not None and call.first_byte_ns and self._length is None:
            self._passed = []

    def _puts_off(self, chunk: object) -> bool:
        """Keep a chunk to read it later, with others: reading them one by one costs several times as much.

        Return False if it must be read now, as it may be the last one that clients read.
        """
        passed = self._passed
        if (
            passed is None
            or len(passed) == MOST_PASSED
            or type(chunk) is not bytes
            or len(chunk) > PASSED_BYTES
            or chunk.endswith(LAST_EVENTS)
        ):
            return False
        passed.append(chunk)
        return True

    def _catch_up(self) -> None:
        """Read the chunks that were kept."""
        passed, self._passed = self._passed, None
        if passed and self._reader is not None:
            body = b"".join(passed)
            self.call.messages += len(passed)
            self.call.response_bytes += len(body)
            self.runtime.attempt("read", self._reader.feed, body)

    def count_file(self, size: int) -> None:
        """Count the bytes of a file that the server itself sends."""
        if not (self._has_no_body or self._settled or self._is_gone):
            self.call.response_bytes += size

    def end_body(self) -> None:
        """End the call: complete if the body has its declared length, the client is there and nothing was raised."""
        length = self._length
        is_long_enough = length is None or self._has_no_body or self.call.response_bytes >= length
        self.end(complete=is_long_enough and not self._is_gone and self.call.raised is None)

    def _end_rest(self, *, complete: bool) -> None:
        reader, self._rest = self._rest, None
        if reader is not None and reader.answer is not None:
            self.runtime.attempt("rest", self._settle_rest, reader, complete=complete)

    def _settle_rest(self, reader: Reader, *, complete: bool) -> None:
        """Count answers that follow in the same stream; the first one is already in the ledger."""
        own = Part(reader.close(complete=complete), reader.answer)
        for part in (*reader.others, own):
            if part.reading.usage is not None:
                self.settle_part(part, messages=reader.events if part is own else 0)

    def settle_part(self, part: Part, *, messages: int = 0, charged: Usage | None = None) -> None:
        """Count an answer, or another model's part in one, as a separate call, at its own price."""
        (usage, model, shape, status, missing), name = part
        call, runtime = self.call, self.runtime
        if name is not None and usage is not None:
            rest = runtime.answers.rest(name, usage)
            if rest is None:
                runtime.answers.note(name, usage)
            elif rest == UNREPORTED:  # already charged
                return
            usage = rest or usage
        provider = None
        if model is not None:
            provider = (
                runtime.providers.find(call.route, self.path, call.providers, model) or shape or provider_of(model)
            )
        another = self._another(usage, model or call.model, provider or shape)
        another.usage_status, another.missing, another.messages, another.charged = status, missing, messages, charged
        runtime.settle(another)

    def settle_stated(self, model: str, stated: Stated) -> None:
        """Count the usage that the app recorded for another model as a separate call, at its own price."""
        another = self._another(stated.usage, model, stated.provider or provider_of(model))
        another.usage_status, another.missing, another.charged = "reported", None, stated.charged
        self.runtime.settle(another)

    def _another(self, usage: Usage | None, model: str | None, provider: str | None) -> Call:
        """Return a call that counts other usage separately from this answer's call."""
        call = self.call
        another = copy(call)
        self.runtime.aggregator.started(another)
        another.usage, another.model, another.provider = usage, model, provider or call.provider
        another.is_model_assumed, another.outcome = False, PART
        another.request_bytes = another.response_bytes = another.first_byte_ns = another.messages = 0
        another.context, another.stream, another.others = None, None, {}
        another.ended_ns = call.ended_ns or now_ns()
        another.started_ns = another.ended_ns
        if self._settled:
            another.reservation = self._spent and self._spent.again()
            return another
        another.time_ns += another.ended_ns - call.started_ns  # a session may have begun long ago
        if call.reservation is not None:
            another.reservation, call.reservation = call.reservation.split()
        return another
