"""What ASGI and WSGI exchanges have alike: read the answer's usage, settle the call once, whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from types import MappingProxyType
from typing import Any, ParamSpec, Protocol

from msgspec import Struct

from keygauge.call import UNMATCHED, Call
from keygauge.clock import now_ns
from keygauge.http.layers import Walk
from keygauge.http.metering import meter
from keygauge.limits.authorizer import Authorizer
from keygauge.telemetry.aggregator import Aggregator
from keygauge.usage import Reader, Usage, kind_of, operations
from keygauge.usage.asked_models import AskedModels
from keygauge.usage.counts import UNTOLD
from keygauge.usage.provider_rules import ProviderRules
from keygauge.usage.providers.names import provider_of
from keygauge.usage.reading import Others
from keygauge.usage.sse import read_events

LEFT = 499  # the status of a call whose client left before the answer began
_REFUSED = 400
_FAILED = 500
LAST_EVENTS = (
    b"data: [DONE]\n\n",
    b"data: [DONE]\r\n\r\n",
    b'"message_stop"}\n\n',
    b'"message_stop" }\n\n',
)  # OpenAI, Anthropic
_BODILESS = frozenset({204, 304})
_SENT_BYTES = 2048
_NO_HEADERS: Mapping[bytes, bytes] = MappingProxyType({})  # a dict would be made for each
_LAST_BYTES = max(map(len, LAST_EVENTS))
MOST_PASSED = 32  # chunks of a stream that are read together; what is held of each is bounded
PASSED_BYTES = 1024

P = ParamSpec("P")


def name_of(error: BaseException) -> str:
    """Name what was raised: in a task group, the one exception in it."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return type(error).__qualname__


class Recorder(Protocol):
    """What a process keeps of its calls, as far as a responder needs it: `runtime` in production."""

    aggregator: Aggregator
    authorizer: Authorizer | None
    answers: operations.Answers
    asked: AskedModels
    estimates: frozenset[str]
    providers: ProviderRules

    def settle(self, call: Call) -> None:
        """Count an ended call and write its event; called once per request."""

    def attempt(self, step: str, do: Callable[P, object], *args: P.args, **options: P.kwargs) -> None:
        """Do one step of ours; one that fails is counted, and neither the host nor the next step notices."""

    def fault(self, reason: str) -> None:
        """Count and log a failure of our own, from an except block."""


class Responder(Struct, kw_only=True, eq=False):
    """The end of one call, and its answer's body on the way there."""

    call: Call
    runtime: Recorder
    headers: Mapping[bytes, bytes] | Mapping[str, str] = _NO_HEADERS  # of the answer
    is_document: bool = False  # the answer, of JSON
    sent_first: bytes = b""  # the request's beginning, and its last chunk
    sent_last: bytes = b""
    _has_no_body: bool = False  # HEAD, or a status without one: what the app gives is not sent
    _is_answered: bool = False  # a held call, in full
    _length: bytes | str | None = None  # of the answer's body, as it is declared
    _params: dict[str, Any] | None = None  # of the path, as far as it was followed
    _is_gone: bool = False  # the client, before the answer's end
    _is_over: bool = False  # the event has passed that clients read no further than
    _rest: Reader | None = None  # of what follows that event
    _passed: list[bytes] | None = None  # chunks in the midst of a stream that are to be read yet
    _reader: Reader | None = None  # of the answer's body, or a session's messages
    _settled: bool = False
    _spent: Any = None  # what the call had reserved, once that is settled

    def end(self, *, complete: bool, error: BaseException | None = None, last: bool = False) -> None:
        """Settle the call; the first time counts, so that background work after the answer does not.

        A held one waits for the `last` time, when the app is done with it; its duration does not.
        """
        if self._settled:
            self._end_rest(complete=complete)
            return
        call = self.call
        if call.is_held and error is None and not last:
            self._note_answer(complete=complete)
            return
        if self._is_answered:
            complete, error = True, None
        elif self._is_over and not isinstance(error, Exception):
            complete = True
        self._settled = True
        call.is_held = False
        call.ended_ns = call.ended_ns or now_ns()
        runtime = self.runtime
        if call.stream:
            runtime.attempt("stream", runtime.aggregator.stream_closed, call.stream)
        try:
            if call.route == UNMATCHED:  # else it is known from before the call, or the app has said it
                call.route = self.find_route() or UNMATCHED
        except Exception:  # noqa: BLE001 - ours, never the host's
            runtime.fault("route")
        others = self._conclude(complete=complete)
        if error is not None or not complete or not 0 < call.status < _FAILED:
            runtime.attempt("error", self._name_error, error, complete=complete)
        self._spent = call.reservation
        runtime.settle(call)
        for model, usage in others:
            runtime.attempt("others", self._settle_other, model, usage)

    def _name_error(self, error: BaseException | None, *, complete: bool) -> None:
        """Say who ended the call where not as its answer said, from what was seen.

        A client that left first is the reason for all that follows. An app that raises, or is done without a whole
        answer, has failed, whatever it sent. Anything else that breaks off is the server's doing.
        """
        call = self.call
        if self._is_gone and not complete:
            call.error = "client_disconnected"
            call.status = call.status or LEFT
        elif error is not None and not isinstance(error, Exception):
            is_server = isinstance(error, SystemExit | KeyboardInterrupt)  # else its task was cancelled: a client left
            call.status = call.status or (_FAILED if is_server else LEFT)
            call.error = name_of(error)
        elif error is not None or not complete or call.status == 0:
            raised = call.raised if error is None else name_of(error)
            call.status = call.status or _FAILED
            self._break(raised or "incomplete_response")
            call.error = raised or call.error or "incomplete_response"
        elif call.error is None:
            call.error = str(call.status)

    def _break(self, error: str) -> None:
        """Count as failed a call whose answer had begun well; what it used is charged all the same."""
        call = self.call
        if call.status < _REFUSED:
            call.status, call.error, call.is_broken = _FAILED, error, True

    def _is_whole(self) -> bool:
        """Tell whether a body that the app has ended is one: the client is there, and has the length it was told."""
        if self._is_gone or self.call.raised is not None:
            return False
        length = self._length
        if length is None or self._has_no_body:
            return True
        try:
            return self.call.response_bytes >= int(length)
        except ValueError:  # none of ours to judge
            return True

    def _note_answer(self, *, complete: bool) -> None:
        """Note that a held call's answer is over."""
        if not self._is_answered:
            self._is_answered = complete
            self.call.ended_ns = self.call.ended_ns or now_ns()

    def _expect(self, content_type: bytes | str | None, encoding: bytes | str | None) -> None:
        """Choose the reader for the body that is to come; the last start counts, as none before it went out."""
        call = self.call
        self._has_no_body = call.method == "HEAD" or call.status in _BODILESS
        kind = kind_of(content_type)
        make, self.is_document, is_stream = kind
        self._reader = kind.reader(encoding) if encoding else make and make()
        if is_stream:
            if call.stream is None:
                call.stream = "sse"
                self.runtime.aggregator.stream_opened("sse")
        elif call.stream is not None:
            self.runtime.aggregator.stream_closed(call.stream)
            call.stream = None

    def _note_sent(self, chunk: bytes) -> None:
        """Hold on to the request's beginning and its last chunk: they may have to name the model."""
        self.sent_last = chunk
        if len(self.sent_first) < _SENT_BYTES:
            self.sent_first += chunk  # no copy of the usual one chunk

    def _read(self, body: bytes) -> None:
        """Take a chunk of the answer's body as it passes.

        On a stream of tokens the event that clients read no further than settles the call, whatever the app does then,
        where all usage is told by then.
        """
        call = self.call
        if self._passed is not None:
            self._catch_up()
        if self._settled or self._is_gone or self._has_no_body:  # told already, or not sent
            if self.call.method == "HEAD" and self._reader is not None and not self._settled:
                self.runtime.attempt("read", self._reader.feed, body)  # made all the same
            elif self._is_over and self._settled:
                self._rest = self._rest or read_events()
                self.runtime.attempt("read", self._rest.feed, body)
            return
        call.response_bytes += len(body)
        reader = self._reader
        if reader is not None:
            try:
                reader.feed(body)
            except Exception:  # noqa: BLE001 - ours, never the host's
                self.runtime.fault("read")
        if not call.first_byte_ns and (not call.stream or reader is None or reader.has_content):
            call.first_byte_ns = now_ns()
        if call.stream:
            self._read_event(body)

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

    def _conclude(self, *, complete: bool) -> Others:
        """Write what the call used; return what other models used beside."""
        try:
            if self._passed is not None:
                self._catch_up()
            reader, self._reader = self._reader, None
            others = meter(self.call, reader, self, self.runtime, complete=complete)
            if reader is not None and reader.failed:
                self._fail()
        except Exception:  # noqa: BLE001 - ours, never the host's
            self.runtime.fault("usage")
            return ()
        return others

    def _fail(self) -> None:
        """Count a call as failed whose answer says so, where that is known to be said of the call."""
        call = self.call
        if call.stream:
            self._break("stream_error")
        elif call.method not in operations.READS and operations.names_a_model(self.path) and call.status < _REFUSED:
            call.status, call.error, call.is_broken = _FAILED, "error_in_answer", call.usage is not None

    def _end_rest(self, *, complete: bool) -> None:
        reader, self._rest = self._rest, None
        if reader is not None and reader.answer is not None:
            self.runtime.attempt("rest", self._settle_rest, reader, reader.answer, complete=complete)

    def _settle_rest(self, reader: Reader, answer: str, *, complete: bool) -> None:
        """Count another answer that followed in the same stream as a call of its own: the first is in the ledger."""
        usage, model, provider, status, missing = reader.close(complete=complete)
        usage = usage and (self.runtime.answers.rest(answer, usage) or usage)
        if usage is None or usage == UNTOLD:  # the first once more
            return
        another = self._another(usage, model or self.call.model)
        another.usage_status, another.missing, another.messages = status, missing, reader.events
        another.provider = another.provider or provider
        another.ended_ns = now_ns()
        self.runtime.settle(another)

    def _settle_other(self, model: str, usage: Usage) -> None:
        """Count what another model used for the answer, by its own price, as a call of its own."""
        another = self._another(usage, model)
        another.provider = provider_of(model) or another.provider
        self.runtime.settle(another)

    def _another(self, usage: Usage, model: str | None) -> Call:
        """Make a call of what is to be counted beside the call of this answer, which is in the ledger already."""
        another = copy(self.call)
        self.runtime.aggregator.started(another)
        another.usage, another.usage_status, another.missing, another.model = usage, "reported", None, model
        another.is_model_assumed = False
        another.request_bytes = another.response_bytes = another.first_byte_ns = another.messages = 0
        another.context, another.stream = None, None
        another.started_ns = another.ended_ns
        another.reservation = self._spent and self._spent.again()
        return another

    @property
    def may_name_model(self) -> bool:
        """Tell whether the body of a call that is refused by a limit, which nobody has read, may name its model."""
        call = self.call
        return call.limit is not None and call.estimate is None and operations.names_a_model(self.path)

    def read_route(self) -> None:
        """Find the route beforehand: what is decided by it is what is counted under it."""
        self.call.path = self.path
        walk = self.follow()
        self._params = walk.params
        self.call.template = walk.template
        self.call.route = walk.template or UNMATCHED

    @property
    def path(self) -> str:
        """The request's path, as it came."""
        raise NotImplementedError

    @property
    def query(self) -> str:
        """The request's query."""
        raise NotImplementedError

    def follow(self) -> Walk:
        """Follow the request through the host, as it will pass it on."""
        raise NotImplementedError

    def find_route(self) -> str | None:
        """Return the route that the host has for the request; None where that cannot be told."""
        raise NotImplementedError
