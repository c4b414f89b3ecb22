"""The answer of one call as it passes, without I/O: its start, its body and the usage in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from types import MappingProxyType
from typing import Any, ClassVar, ParamSpec, Protocol

from msgspec import Struct

from keygauge.call import Call, Stated
from keygauge.clock import now_ns
from keygauge.limits.authorizer import Authorizer
from keygauge.telemetry import tracing
from keygauge.telemetry.aggregator import Aggregator
from keygauge.telemetry.tracing import current as current_context
from keygauge.usage import Reader, Usage, kind_of, operations
from keygauge.usage.counts import UNREPORTED
from keygauge.usage.provider_rules import ProviderRules
from keygauge.usage.providers.names import provider_of
from keygauge.usage.reading import Part
from keygauge.usage.requested_models import RequestedModels
from keygauge.usage.sse import read_events

LEFT = 499  # the status of a call whose client left before the answer began
LAST_EVENTS = (
    b"data: [DONE]\n\n",
    b"data: [DONE]\r\n\r\n",
    b'"message_stop"}\n\n',
    b'"message_stop" }\n\n',
)  # OpenAI, Anthropic
_BODILESS = frozenset({204, 304})
_NO_HEADERS: Mapping[Any, Any] = MappingProxyType({})  # a dict would be made for each
_LAST_BYTES = max(map(len, LAST_EVENTS))
_AS_TEXT = ("content-type", "content-encoding", "content-length")
_AS_BYTES = (b"content-type", b"content-encoding", b"content-length")
MOST_PASSED = 32  # chunks of a stream that are read together; what is held of each is bounded
PASSED_BYTES = 1024

P = ParamSpec("P")


class Recorder(Protocol):
    """What a process keeps of its calls, as far as a request needs it: `runtime` in production."""

    aggregator: Aggregator
    authorizer: Authorizer | None
    answers: operations.Answers
    requested_models: RequestedModels
    estimates: frozenset[str]
    providers: ProviderRules
    streams: set[Call]  # those that are open

    def settle(self, call: Call) -> None:
        """Count an ended call and write its event; called once per request."""

    def attempt(self, step: str, do: Callable[P, object], *args: P.args, **options: P.kwargs) -> None:
        """Run one of our own steps; a failure is counted and affects neither the app nor later steps."""

    def fault(self, reason: str) -> None:
        """Count and log a failure of our own, from an except block."""


class Responder(Struct, kw_only=True, eq=False):
    """What was seen of the answer so far; where it ends the call, it says so."""

    is_text: ClassVar[bool] = False  # header fields are str, as WSGI has them, not bytes

    call: Call
    path: str  # as it came
    runtime: Recorder
    headers: Mapping[Any, Any] = _NO_HEADERS  # of the answer
    is_document: bool = False  # the answer, of JSON
    _has_no_body: bool = False  # HEAD, or a status without one: what the app gives is not sent
    _length: int | None = None  # of the answer's body, as it is declared
    _is_gone: bool = False  # the client, before the answer's end
    _is_over: bool = False  # the event has passed that clients read no further than
    _rest: Reader | None = None  # of what follows that event
    _passed: list[bytes] | None = None  # chunks in the midst of a stream that are to be read yet
    _reader: Reader | None = None  # of the answer's body, or a session's messages
    _settled: bool = False
    _spent: Any = None  # what the call had reserved, once that is settled

    def end(self, *, complete: bool) -> None:
        """End the call."""
        raise NotImplementedError

    def begin(self, status: int | str, fields: list[Any]) -> list[Any]:
        """Read the answer's start, the last one before its body; return its header fields, with those of the limits."""
        if self._settled:  # a call never changes after its event is written
            return fields
        call = self.call
        try:
            call.status = LEFT if self._is_gone else status if type(status) is int else int(status)
            if call.context is None and current_context():  # an inner instrumentation has started it by now
                tracing.find_inside(call)
            by_name: dict[Any, Any] = {} if self.is_text else dict(fields)
            kind, encoding, length = _AS_TEXT if self.is_text else _AS_BYTES
            if kind not in by_name:  # names are in lower case in ASGI, as given in Django and WSGI
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
        """Choose the reader for the body that is to come; the last start counts, as none before it went out."""
        call = self.call
        self._has_no_body = call.method == "HEAD" or call.status in _BODILESS
        try:
            self._length = None if length is None else int(length)
        except ValueError:  # not ours to judge
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
        """Take a chunk of the answer's body as it passes.

        On a stream of tokens the event that clients read no further than settles the call, whatever the app does then,
        where all usage is told by then.
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
        """Read what is made for HEAD all the same, and what follows the end of a stream of tokens."""
        if not self._settled:
            if self.call.method == "HEAD" and self._reader is not None:
                self.runtime.attempt("read", self._reader.feed, body)
        elif self._is_over:
            self._rest = self._rest or read_events()
            self.runtime.attempt("read", self._rest.feed, body)

    def _read_event(self, body: bytes) -> None:
        """Take what passes of a stream of tokens: see whether it is over, else the next chunks may be read together."""
        call, reader = self.call, self._reader
        call.messages += 1
        if (body if type(body) is bytes else bytes(body[-_LAST_BYTES:])).endswith(LAST_EVENTS):
            self._is_over = True
            if reader is None or reader.is_final:
                self.end(complete=True)
        elif reader is not None and call.first_byte_ns and self._length is None:
            self._passed = []

    def _puts_off(self, chunk: object) -> bool:
        """Keep a chunk in the midst of a stream, to read some at a time: one by one each costs several times as much.

        False where it has to be read now: it may be the one that clients read no further than.
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
        """Read the chunks that were put off."""
        passed, self._passed = self._passed, None
        if passed and self._reader is not None:
            body = b"".join(passed)
            self.call.messages += len(passed)
            self.call.response_bytes += len(body)
            self.runtime.attempt("read", self._reader.feed, body)

    def count_file(self, size: int) -> None:
        """Count what the server sends by itself of a file."""
        if not self._has_no_body and not self._settled:
            self.call.response_bytes += size

    def end_body(self) -> None:
        """End with the body that the app has ended: a whole one has the length it was told, and the client is there."""
        length = self._length
        is_long_enough = length is None or self._has_no_body or self.call.response_bytes >= length
        self.end(complete=is_long_enough and not self._is_gone and self.call.raised is None)

    def _end_rest(self, *, complete: bool) -> None:
        reader, self._rest = self._rest, None
        if reader is not None and reader.answer is not None:
            self.runtime.attempt("rest", self._settle_rest, reader, complete=complete)

    def _settle_rest(self, reader: Reader, *, complete: bool) -> None:
        """Count what follows in the same stream: the first answer is already in the ledger."""
        own = Part(reader.close(complete=complete), reader.answer)
        for part in (*reader.others, own):
            if part.reading.usage is not None:
                self.settle_part(part, messages=reader.events if part is own else 0)

    def settle_part(self, part: Part, *, messages: int = 0, charged: Usage | None = None) -> None:
        """Count an answer, or another model's part in one, as a call of its own, at its own price."""
        (usage, model, shape, status, missing), name = part
        call, runtime = self.call, self.runtime
        if name is not None and usage is not None:
            rest = runtime.answers.rest(name, usage)
            if rest is None:
                runtime.answers.note(name, usage)
            elif rest == UNREPORTED:  # it is charged
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
        """Count the usage that the app recorded for another model as a call of its own, at its own price."""
        another = self._another(stated.usage, model, stated.provider or provider_of(model))
        another.usage_status, another.missing, another.charged = "reported", None, stated.charged
        self.runtime.settle(another)

    def _another(self, usage: Usage | None, model: str | None, provider: str | None) -> Call:
        """Make a call of what is to be counted beside the call of this answer."""
        call = self.call
        another = copy(call)
        self.runtime.aggregator.started(another)
        another.usage, another.model, another.provider = usage, model, provider or call.provider
        another.is_model_assumed = False
        another.request_bytes = another.response_bytes = another.first_byte_ns = another.messages = 0
        another.context, another.stream, another.others = None, None, {}
        another.ended_ns = call.ended_ns or now_ns()
        another.started_ns = another.ended_ns
        if self._settled:
            another.reservation = self._spent and self._spent.again()
            return another
        another.time_ns += another.ended_ns - call.started_ns  # of a session that may have begun long ago
        if call.reservation is not None:
            another.reservation, call.reservation = call.reservation.split()
        return another
