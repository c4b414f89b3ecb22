"""One request, without I/O: what it waits for, what it is answered, who ended it, and its one event at its end.

A driver, of ASGI or WSGI, tells what it sees in the order in which that comes, and does what it is told: nothing here
waits, reads or sends. Whatever step raises, the call ends once, with one event and one metric.
"""

from __future__ import annotations

from collections.abc import Generator
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
    """Read the request's body up to a bound, whose declared `length` is in it; tell what was read, and its length."""

    length: int


class Until(NamedTuple):
    """Wait until there may be another decision, `until_ns` at most."""

    wait: Wait
    until_ns: int


Sent: TypeAlias = tuple[bytes, int]  # what was read ahead of a body, and the length it has or is to be taken for
Waits: TypeAlias = Generator[ReadAhead | Until, Sent, Refusal | None]


def name_of(error: BaseException) -> str:
    """Name an exception; for a group with one exception, that one."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return type(error).__qualname__


class Request(Responder, kw_only=True, eq=False):
    """One request from its arrival to its event: it is decided on, then its answer passes, then it has ended."""

    sent_first: bytes = b""  # the request's beginning, and its last chunk
    sent_last: bytes = b""
    _is_answered: bool = False  # a held call, in full
    _params: dict[str, Any] | None = None  # of the path, as far as it was followed

    @property
    def query(self) -> str:
        """The request's query."""
        raise NotImplementedError

    def header(self, name: str) -> str:
        """Return a header of the request; all values if it is repeated, "" if absent."""
        raise NotImplementedError

    def follow(self) -> Walk:
        """Follow the request through the app's layers, as it will be routed."""
        raise NotImplementedError

    def find_route(self) -> str | None:
        """Return the app's route for the request; None if it cannot be determined."""
        raise NotImplementedError

    def drop_body(self) -> None:
        """Give the app an empty body, whatever is sent."""
        raise NotImplementedError

    def decide(self, authorizer: Authorizer, token: bytes | Conflict | None) -> Refusal | Waits | None:
        """Decide on the request; None: it is admitted. What has to be waited for is told by an iteration."""
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
        """Return whether this is a preflight that the host answers without a handler; HTTP/2 may hide a body of it."""
        if not preflight.is_preflight(self.call.method, self.header) or not preflight.is_answered(self.follow().layers):
            return False
        self.drop_body()
        return True

    def _wait(self, authorizer: Authorizer, token: bytes | Conflict | None, decision: Decision) -> Waits:
        """Decide on a cold key, on units that are not held, or by the body: with the key service's word."""
        call = self.call
        since_ns = call.started_ns
        try:
            while decision is not None and not isinstance(decision, Refusal):
                if isinstance(decision, NeedsBody):
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
        """Have the body's beginning read, and estimate by it what the call will use.

        A body that is declared longer is left to the app, and so is one whose client waits to be asked for it (RFC
        9110, 10.1.1), unless the decision `waits` for it.

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
        """Estimate what the call will use by the beginning of its body.

        Raises:
            EstimateError: a declared cap makes no sense.
        """
        return estimate(
            body,
            length=length,
            path=self.path,
            method=self.call.method,
            query=self.query,
            params=self._params,
            content_type=self.header("content-type"),
            content_encoding=self.header("content-encoding"),
        )

    def read_route(self) -> None:
        """Find the route beforehand: what is decided by it is what is counted under it."""
        self.call.path = self.path
        walk = self.follow()
        self._params = walk.params
        self.call.template = walk.template
        self.call.route = str(walk.template or UNMATCHED)

    @property
    def may_name_model(self) -> bool:
        """Return whether the body of a call that is refused by a limit, which nobody has read, may name its model."""
        call = self.call
        return call.limit is not None and call.estimate is None and operations.names_a_model(self.path)

    def refuse(self, refusal: Refusal, *, status: int | None = None) -> Answer:
        """End a refused call; return what to answer in the app's place. `status` is what it gets where not that."""
        call = self.call
        if call.template is None:
            self.read_route()
        fields = call.policy.fields(call.policy.as_bytes, now_ns()) if refusal.limit and call.policy else []
        problem = answer(refusal, fields, is_cross_origin=bool(self.header("origin")))
        call.status = problem.status if status is None else status
        call.response_bytes = len(problem.body) if status is None and call.method != "HEAD" else 0
        self.end(complete=True)
        return problem

    def note_sent(self, chunk: bytes, *, is_read: bool = True) -> None:
        """Hold on to the request's beginning and its last chunk, which may have to name the model.

        Count it where the app reads it.
        """
        if chunk and not self._settled:
            if is_read:
                self.call.request_bytes += len(chunk)
            self.sent_last = chunk
            if len(self.sent_first) < _SENT_BYTES:
                self.sent_first += chunk  # no copy of the usual one chunk

    def note_left(self) -> None:
        """Note that the client left; the app may still end its answer by itself."""
        self._is_gone = True

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
        others: Others = ()
        try:
            runtime.streams.discard(call)
            if call.route == UNMATCHED:  # else it is known from before the call, or the app has said it
                try:
                    call.route = self.find_route() or UNMATCHED
                except Exception:  # noqa: BLE001 - our failure, which must not reach the app
                    runtime.fault("route")
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
        """Note that a held call's answer is over."""
        if not self._is_answered:
            self._is_answered = complete
            self.call.ended_ns = self.call.ended_ns or now_ns()

    def _name_error(self, error: BaseException | None, *, complete: bool) -> None:
        """Say who ended the call where not as its answer said, from what was seen.

        A client that left first is the reason for all that follows. An app that raises, or is done without a whole
        answer, has failed, whatever it sent. Anything else that breaks off, a task that is cancelled or a worker that
        exits, is the server's doing.
        """
        call = self.call
        if self._is_gone and not complete:
            call.error = "client_disconnected"
            call.status = call.status or LEFT
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
        """Count as failed a call whose answer had begun well; what it used is charged all the same."""
        call = self.call
        if call.status < _REFUSED:
            call.status, call.error, call.is_broken = _FAILED, error, True

    def _meter(self, *, complete: bool) -> Others:
        """Write what the call used; return what else is to be priced by itself."""
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
        """Count a call as failed whose answer says so, where that is known to be said of the call."""
        call = self.call
        if call.stream == "sse":
            self._break("stream_error")
        elif call.method not in operations.READS and operations.names_a_model(self.path) and call.status < _REFUSED:
            call.status, call.error, call.is_broken = _FAILED, "error_in_answer", call.usage is not None
