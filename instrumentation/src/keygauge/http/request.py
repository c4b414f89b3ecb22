"""One request, without I/O: what it waits for, its answer, who ended it, and its single event at the end.

An ASGI or WSGI driver passes on what it sees, in order, and does all waiting, reading and sending. Whichever step
raises, the call ends once, with one event and one metric.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any, NamedTuple, TypeAlias

from keygauge.call import UNMATCHED
from keygauge.clock import now_ns
from keygauge.http import preflight
from keygauge.http.metering import meter
from keygauge.http.problem import Answer, answer
from keygauge.http.responder import LEFT, Responder
from keygauge.http.routing.layers import Walk
from keygauge.limits.authorizer import Authorizer, Decision, NeedsBody
from keygauge.limits.credential import Conflict
from keygauge.limits.reading.estimate import Estimate, EstimateError, estimate
from keygauge.limits.reading.request_fields import BODY_BYTES_MAX
from keygauge.limits.refusal import Refusal
from keygauge.limits.waiter import Wait
from keygauge.usage import operations
from keygauge.usage.reading import Others

_REFUSED = 400
_FAILED = 500
_SENT_BYTES = 2048


class ReadAhead(NamedTuple):
    """An instruction to the driver: read the body, of a declared `length`, up to a limit, and send back a `Sent`."""

    length: int


class Until(NamedTuple):
    """An instruction to the driver: wait until there may be another decision, at most until `until_ns`."""

    wait: Wait
    until_ns: int


Sent: TypeAlias = tuple[bytes, int]  # the part of a body read ahead, and its actual or assumed length
Waits: TypeAlias = Generator[ReadAhead | Until, Sent, Refusal | None]


def name_of(error: BaseException) -> str:
    """Return the name of an exception's class; for a group with one exception, of that one."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return type(error).__qualname__


class Request(Responder, kw_only=True, eq=False):
    """One request from its arrival to its event: it is authorized, its answer passes, and it ends."""

    sent_first: bytes = b""  # the request's beginning
    sent_last: bytes = b""  # its last chunk
    _is_answered: bool = False  # a held call's answer is complete
    _params: dict[str, Any] | None = None  # path parameters, if the request was followed

    @property
    def query(self) -> str:
        """The request's query string."""
        raise NotImplementedError

    @property
    def params(self) -> Mapping[str, Any] | None:
        """The path's parameters, if known."""
        return self._params

    def header(self, name: str) -> str:
        """Return a header of the request; all values if it is repeated, "" if absent."""
        raise NotImplementedError

    def follow(self) -> Walk:
        """Follow the request through the app's layers in the way it will be routed."""
        raise NotImplementedError

    def find_route(self) -> str | None:
        """Return the app's route for the request; None if it cannot be determined."""
        raise NotImplementedError

    def drop_body(self) -> None:
        """Give the app an empty body."""
        raise NotImplementedError

    def decide(self, authorizer: Authorizer, token: bytes | Conflict | None) -> Refusal | Waits | None:
        """Authorize the request. Return None if admitted, or a generator if the decision has to wait for something."""
        try:
            if token is None and self._is_free():
                return None
            decision = authorizer.decide(self.call, token)
        except Exception:  # noqa: BLE001 - our failure, which must not reach the app
            self.runtime.fault("decide")
            return authorizer.give_up(self.call)
        if decision is None or isinstance(decision, Refusal):
            return decision
        return self._wait(authorizer, token, decision)

    def _is_free(self) -> bool:
        """Return whether a CORS layer of the host answers this preflight; drop its body, undeclared in HTTP/2."""
        if not preflight.is_preflight(self.call.method, self.header) or not preflight.is_answered(self.follow().layers):
            return False
        self.drop_body()
        return True

    def _wait(self, authorizer: Authorizer, token: bytes | Conflict | None, decision: Decision) -> Waits:
        """Authorize once the key, the units or the body that the decision needs are there."""
        call = self.call
        since_ns = call.started_ns
        try:
            while decision is not None and not isinstance(decision, Refusal):
                if isinstance(decision, NeedsBody):
                    if decision.needs_route:
                        self.read_route()
                    waits = decision.needs_model
                    call.estimate = (yield from self._read_ahead(waits=waits)) if decision.needs_body else Estimate()
                    since_ns = now_ns()
                elif now_ns() >= (until_ns := authorizer.waits_until_ns(since_ns)):
                    return authorizer.give_up(call)
                else:
                    yield Until(decision, until_ns)
                decision = authorizer.decide(call, token)
        except EstimateError:
            return authorizer.refuse_cap(call)
        except Exception:  # noqa: BLE001 - our failure, which must not reach the app
            self.runtime.fault("decide")
            return authorizer.give_up(call)
        else:
            return decision
        finally:
            authorizer.leave(call)

    def _read_ahead(self, *, waits: bool) -> Generator[ReadAhead, Sent, Estimate]:
        """Read the beginning of the body, and estimate the call's usage from it.

        A body with a larger declared length is not read, and neither is one whose client expects `100 Continue` first
        (RFC 9110, 10.1.1), unless the decision `waits` for it.

        Raises:
            EstimateError: a declared cap makes no sense.
        """
        declared, body = self.header("content-length"), b""
        length = int(declared) if declared.isascii() and declared.isdigit() else 0
        if length <= BODY_BYTES_MAX and (waits or self.header("expect").strip().lower() != "100-continue"):
            body, length = yield ReadAhead(length)
        elif not length:
            length = BODY_BYTES_MAX + 1
        return self.estimate(body, length)

    def estimate(self, body: bytes, length: int) -> Estimate:
        """Estimate the call's usage from the beginning of its body.

        Raises:
            EstimateError: a declared cap makes no sense.
        """
        return estimate(
            body,
            length=length,
            path=self.path,
            method=self.call.method,
            query=self.query,
            params=self.params,
            content_type=self.header("content-type"),
            content_encoding=self.header("content-encoding"),
        )

    def read_route(self) -> None:
        """Find the route before the call, so that authorization and metering use the same one."""
        self.call.path = self.path
        walk = self.follow()
        self._params = walk.params
        self.call.template = walk.template
        self.call.route = str(walk.template or UNMATCHED)

    @property
    def may_name_model(self) -> bool:
        """Return whether the body of a call refused by a limit is unread and may name the model."""
        call = self.call
        return call.limit is not None and call.estimate is None and operations.names_a_model(self.path)

    def refuse(self, refusal: Refusal, *, status: int | None = None) -> Answer:
        """End a refused call; return the answer in the app's place. `status` is set if the server cannot send it."""
        call = self.call
        if call.template is None:
            self.read_route()
        fields = call.policy.fields(call.policy.as_bytes, now_ns()) if refusal.limit and call.policy else []
        problem = answer(
            refusal, fields, is_cross_origin=bool(self.header("origin")), key_header=self.runtime.key_header
        )
        call.status = problem.status if status is None else status
        call.response_bytes = len(problem.body) if status is None and call.method != "HEAD" else 0
        self.end(complete=True)
        return problem

    def note_sent(self, chunk: bytes, *, is_read: bool = True) -> None:
        """Keep the request's beginning and its last chunk, which may name the model.

        Count the chunk if the app reads it.
        """
        if chunk and not self._settled:
            if is_read:
                self.call.request_bytes += len(chunk)
            self.sent_last = chunk
            if len(self.sent_first) < _SENT_BYTES:
                self.sent_first += chunk  # no copy in the usual case of one chunk

    def note_left(self) -> None:
        """Record that the client left; the app may still finish its answer."""
        self._is_gone = True

    def end(self, *, complete: bool, error: BaseException | None = None, last: bool = False) -> None:
        """Settle the call. Only the first time counts, so background work after the answer does not.

        A held call is settled with `last`, when the app is done with it, but its duration ends with the answer.
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
        others: Others = ()
        try:
            runtime.streams.discard(call)
            try:
                if call.route == UNMATCHED or not isinstance(call.route, str):  # an app can set anything
                    call.route = self.find_route() or UNMATCHED
            except Exception:  # noqa: BLE001 - our failure, which must not reach the app
                runtime.fault("route")
                call.route = UNMATCHED
            others = self._meter(complete=complete)
            if error is not None or not complete or not 0 < call.status < _FAILED:
                runtime.attempt("error", self._name_error, error, complete=complete)
        finally:
            self._spent = call.reservation
            runtime.settle(call)
        for part in others:
            runtime.attempt("others", self.settle_part, part)
        for model, stated in call.others.items():
            runtime.attempt("others", self.settle_stated, model, stated)

    def _note_answer(self, *, complete: bool) -> None:
        """Record that a held call's answer has ended."""
        if not self._is_answered:
            self._is_answered = complete
            self.call.ended_ns = self.call.ended_ns or now_ns()

    def _name_error(self, error: BaseException | None, *, complete: bool) -> None:
        """Set the call's error, and its status if the answer's own does not apply.

        If the client left first, that is the reason for everything after it. An app that raises, or returns without a
        complete answer, has failed, whatever it sent. Other interruptions, such as a cancelled task or an exiting
        worker, are caused by the server.
        """
        call = self.call
        if self._is_gone and not complete:
            call.error = "client_disconnected"
            call.status = call.status or LEFT
            if self._sent_messages is not None:
                call.messages = self._sent_messages
        elif error is not None and not isinstance(error, Exception):
            call.status = call.status or _FAILED
            self._break(name_of(error))
            call.error = name_of(error)
        elif error is not None or not complete or call.status == 0:
            raised = call.raised if error is None else name_of(error)
            call.status = call.status or _FAILED
            self._break(raised or "incomplete_response")
            call.error = raised or call.error or "incomplete_response"
        elif call.error is None:
            call.error = str(call.status)

    def _break(self, error: str) -> None:
        """Count a call as failed although its answer began with success; its usage is still charged."""
        call = self.call
        if call.status < _REFUSED:
            call.status, call.error, call.is_broken = _FAILED, error, True

    def _meter(self, *, complete: bool) -> Others:
        """Set the call's usage; return other answers and models' parts, which are priced separately."""
        try:
            if self._passed is not None:
                self._catch_up()
            reader, self._reader = self._reader, None
            others = meter(self.call, reader, self, self.runtime, complete=complete)
            if reader is not None and reader.failed:
                self._fail()
        except Exception:  # noqa: BLE001 - our failure, which must not reach the app
            self.runtime.fault("usage")
            return ()
        return others

    def _fail(self) -> None:
        """Count a call as failed if its answer says so and is known to mean the call."""
        call = self.call
        if call.stream == "sse":
            self._break("stream_error")
        elif call.method not in operations.READS and operations.names_a_model(self.path) and call.status < _REFUSED:
            call.status, call.error, call.is_broken = _FAILED, "error_in_answer", call.usage is not None
