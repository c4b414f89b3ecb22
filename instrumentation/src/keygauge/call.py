"""The record of one request, shared by all parts of the middleware while the request passes."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from functools import cache
from types import MappingProxyType
from typing import Any, Literal

from msgspec import Struct

from keygauge.kinds import PART_OF
from keygauge.usage import Usage
from keygauge.usage.counts import MAX_TOKENS

_log = logging.getLogger(__name__)

Outcome = Literal[
    "admitted",
    "limited",
    "quota",
    "revoked",
    "expired",
    "unknown",
    "forbidden",
    "unavailable",
    "would_limit",  # admitted, though a dry-run limit would have refused
    "degraded",  # admitted without a lease while the key service was away, by a `safe` limit
]
UsageStatus = Literal["reported", "partial", "estimated", "none"]
StreamKind = Literal["sse", "websocket"]

SCOPE_MARK = "keygauge"  # in an ASGI scope: the call that its request is
ANONYMOUS = "anonymous"  # the key id of calls that carried no key
INVALID = "invalid"  # … whose key is malformed or unknown, so that attackers create no series
UNMATCHED = "_unmatched"  # the route of calls that match no route of the app


class OpenRoute(str):
    """The route of calls to a mounted app whose router is not known: `/mount/{path}` stands for all below the mount."""

    __slots__ = ()
    REST = "/{path}"  # how Starlette ends the template of a mount

    def may_be(self, pattern: str) -> bool:
        """Return whether the call may be to a route, or to one that begins as a pattern with "*" does."""
        start = self.removesuffix("{path}")
        return pattern.startswith(start) or (pattern.endswith("*") and start.startswith(pattern[:-1]))


_NO_OTHERS: Mapping[str, tuple[Usage, str | None]] = MappingProxyType({})  # by model: what it used, and its provider


class Call(Struct, kw_only=True, eq=False, gc=False):  # never part of a cycle
    """One request. Times `*_ns` are `keygauge.clock.now_ns`, but `time_ns` is the wall clock; sizes are body bytes."""

    method: str
    ip: str | None
    time_ns: int
    started_ns: int
    account: str | None = None
    charged: Usage | None = None  # the part of its usage charged to limits before its end
    context: Any = None  # the OpenTelemetry context the request ran in, for exemplars
    ended_ns: int = 0
    error: str | None = None  # an exception's class or a refusal's code
    estimate: Any = None  # of its usage; None until its body is read, if needed
    is_budgeted: bool = False  # a limit of cost applies to it
    is_free: bool = False  # it used nothing, even if its answer shows usage
    is_broken: bool = False  # it failed after its answer had started
    is_guess: bool = False  # its reservation is by the prices of other calls of its route
    is_held: bool = False  # settled when the app is done with it, not when its answer ends
    first_byte_ns: int = 0  # 0 until the first body byte of the answer
    key: str = ANONYMOUS  # the key's id, ANONYMOUS or INVALID
    limit: str | None = None  # the limit that refused
    matched: str | None = None  # what a router inside the app matched, below its mount
    messages: int = 0  # on a stream
    missing: str | None = None  # why a successful answer has no usage
    is_model_assumed: bool = False  # its answer named no model
    model: str | None = None  # the model it counts for: as named by the answer, or else by the request
    others: Mapping[str, tuple[Usage, str | None]] = _NO_OTHERS  # what the app states of other models
    outcome: Outcome = "admitted"
    path: str = ""  # known where a decision needs the route
    policy: Any = None  # what tells the caller its limits, where they are enforced
    provider: str | None = None
    providers: Any = None  # the plan's rules of whose answers a route gives
    raised: str | None = None  # the exception's class, if an inner middleware holds it back
    request_bytes: int = 0
    requested_model: str | None = None  # as the request named it
    reservation: Any = None  # what it reserved of its limits, until settled
    response_bytes: int = 0
    route: str = UNMATCHED
    scopes: tuple[str, ...] = ()  # those of the key; the app decides what they allow
    status: int = 0
    stream: StreamKind | None = None
    tag: str | None = None  # the end user that it is made for; the app may name it
    template: str | None = None  # the route, as far as it was found before the host was called
    trace_id: str | None = None
    usage: Usage | None = None
    usage_status: UsageStatus = "none"
    waiter: Any = None  # its place in the queues of its limits, while it waits for units

    def record_usage(
        self,
        *,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        cache_read_tokens: int | None = None,
        cache_write_tokens: int | None = None,
        reasoning_tokens: int | None = None,
        model: str | None = None,
        provider: str | None = None,
        **details: int | None,
    ) -> None:
        """Record this call's usage from inside the app. It can be called many times until the call ends; counts add up.

        Of several models each is counted and priced by itself; all but the last named one as a call of its own.
        `details` are counts of the kinds in `keygauge.kinds`, such as `input_audio`, `images`, `seconds`,
        `web_searches`. Those of tokens are part of the input or output, not beside them.

        Raises:
            ValueError: a count is negative or no integer, or a name is no text.
            TypeError: there is no such kind.
        """
        known = {kind: count for kind, count in details.items() if count is not None}
        if unknown := known.keys() - PART_OF.keys():
            raise TypeError(f"unknown kind {min(unknown)!r}: use one of {', '.join(PART_OF)}")
        counts = (input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens)
        for name, count in [*zip(Usage._fields[:-1], counts, strict=True), *known.items()]:
            if count is not None and (type(count) is not int or not 0 <= count <= MAX_TOKENS):
                raise ValueError(f"{name} is {count!r}: use an integer from 0 to {MAX_TOKENS}, or leave it out")
        for what, given in (("model", model), ("provider", provider)):
            if given is not None and not isinstance(given, str):
                raise ValueError(f"{what} is {given!r}: use a string, or leave it out")
        if self.ended_ns and not self.is_held:
            _complain_of_late_usage()
            return
        stated = Usage(*counts, details=known or None)
        if model is not None and model != self.model and self.model is not None and self.stream != "websocket":
            self._turn_to(model)
        self.usage = (stated if self.usage is None else self.usage + stated).clipped()
        self.usage_status = "reported"
        self.model = model or self.model
        self.provider = provider or self.provider

    def _turn_to(self, model: str) -> None:
        """Keep what the model so far used, and go on with what another did."""
        others = dict(self.others)
        if self.usage is not None and self.model is not None:
            others[self.model] = (self.usage, self.provider)
        self.usage, self.provider = others.pop(model, (None, None))
        self.model, self.others = model, others

    def hold(self) -> None:
        """Settle when the app is done with the call, not with its answer's last byte.

        For usage that a background task states: call it before the answer ends. A process that is killed meanwhile
        loses the call.
        """
        self.is_held = True


@cache  # once
def _complain_of_late_usage() -> None:
    _log.warning(
        "Usage recorded after the end of its call is not counted: call keygauge.current().hold() in the handler"
    )


CURRENT: ContextVar[Call | None] = ContextVar("keygauge_call", default=None)


def current() -> Call:
    """Return the current call; outside of one, a dummy that nothing reads."""
    call = CURRENT.get()
    if call is None:
        return Call(method="", ip=None, time_ns=0, started_ns=0)
    return (_of_message() or call) if call.ended_ns else call


def _of_message() -> Call | None:
    """Return the call that brought the message which an MCP server answers: its tools run in the session's first."""
    server: Any = sys.modules.get("mcp.server.lowlevel.server")
    context = server.request_ctx.get(None) if hasattr(server, "request_ctx") else None
    scope = getattr(getattr(context, "request", None), "scope", {})
    return scope.get(SCOPE_MARK) if isinstance(scope, MutableMapping) else None
