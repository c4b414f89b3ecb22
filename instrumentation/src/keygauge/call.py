"""The record of one request, shared by all parts of the middleware."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from functools import cache
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from msgspec import Struct

from keygauge.kinds import PART_OF
from keygauge.usage import Usage
from keygauge.usage.counts import MAX_TOKENS, UNREPORTED

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
    "would_limit",  # admitted, although a dry-run limit would have refused it
    "degraded",  # admitted by a `safe` limit without a lease while the key service was unreachable
    "part",  # usage of another answer or model within a call: it is not a request, and has no duration
]
PART: Outcome = "part"
ADMITTED: tuple[Outcome, ...] = ("admitted", "would_limit", "degraded")
LIMITED: tuple[Outcome, ...] = ("limited", "quota")
UsageStatus = Literal["reported", "partial", "estimated", "none"]
StreamKind = Literal["sse", "ndjson", "eventstream", "websocket"]

SCOPE_MARK = "keygauge"  # in an ASGI scope: the request's call
ANONYMOUS = "anonymous"  # the key id of calls without a key
INVALID = "invalid"  # the key id of calls with a malformed or unknown key, so that attackers create no series
UNMATCHED = "_unmatched"  # the route of calls that match none of the app's routes


class OpenRoute(str):
    """The route of calls to a mounted app with an unknown router: `/mount/{path}` matches all paths below the mount."""

    __slots__ = ()
    REST = "/{path}"  # the end of a mount's template in Starlette

    def may_be(self, pattern: str) -> bool:
        """Return whether the call may be to a route, or to one with the prefix of a pattern that ends with "*"."""
        start = self.removesuffix("{path}")
        return pattern.startswith(start) or (pattern.endswith("*") and start.startswith(pattern[:-1]))


class Stated(NamedTuple):
    """Usage that the app recorded for a model other than the one it named last."""

    usage: Usage
    provider: str | None
    charged: Usage | None  # the part already charged to limits


_NO_OTHERS: Mapping[str, Stated] = MappingProxyType({})  # by model
_NOTHING_AWAITED: Mapping[bool, frozenset[tuple[str | None, str]]] = MappingProxyType({})


class Call(Struct, kw_only=True, eq=False, gc=False):  # never part of a reference cycle
    """One request. `*_ns` times are `keygauge.clock.now_ns`, except `time_ns`: wall clock. Sizes are body bytes."""

    method: str
    ip: str | None
    time_ns: int
    started_ns: int
    account: str | None = None
    awaited: Mapping[bool, frozenset[tuple[str | None, str]]] = _NOTHING_AWAITED  # unpriced models, by `is_guess`
    charged: Usage | None = None  # usage charged to limits before the end of the call
    context: Any = None  # the request's OpenTelemetry context, for exemplars
    ended_ns: int = 0
    error: str | None = None  # an exception's class or a refusal's code
    estimate: Any = None  # estimated usage; None until the body is read, if needed
    is_budgeted: bool = False  # a cost limit applies
    is_free: bool = False  # it used nothing, even if its answer shows usage
    is_broken: bool = False  # it failed after its answer had started
    is_guess: bool = False  # its reservation uses the prices of other calls on its route
    is_held: bool = False  # settled when the app is done with it, not when its answer ends
    first_byte_ns: int = 0  # 0 until the first body byte of the answer
    key: str = ANONYMOUS  # the key's id, ANONYMOUS or INVALID
    limit: str | None = None  # the limit that refused it
    matched: str | None = None  # the route matched by a router inside the app, below its mount
    messages: int = 0  # on a stream
    missing: str | None = None  # why a successful answer has no usage
    is_model_assumed: bool = False  # its answer named no model
    model: str | None = None  # the model it counts for: named by the answer, or else by the request
    others: Mapping[str, Stated] = _NO_OTHERS  # usage of other models, recorded by the app
    outcome: Outcome = "admitted"
    path: str = ""  # set if a decision needs the route
    policy: Any = None  # the source of the rate limit headers, if limits are enforced
    provider: str | None = None
    providers: Any = None  # the plan's rules for the provider of a route
    raised: str | None = None  # the exception's class, if an inner middleware holds it back
    request_bytes: int = 0
    requested_model: str | None = None  # named by the request
    reservation: Any = None  # the units reserved from its limits, until settled
    response_bytes: int = 0
    route: str = UNMATCHED
    scopes: tuple[str, ...] = ()  # the key's scopes; the app decides what they allow
    status: int = 0
    stream: StreamKind | None = None
    tag: str | None = None  # the end user it is made for; the app can set it
    template: str | None = None  # the route, as far as known before the host was called
    trace_id: str | None = None
    usage: Usage | None = None
    usage_status: UsageStatus = "none"
    waiter: Any = None  # its position in the queues of its limits, while it waits for units

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
        """Record this call's usage from inside the app. It can be called repeatedly until the call ends; counts add up.

        Several models are counted and priced separately; all but the last one named become ledger rows of their own,
        which are not counted as requests.
        `details` are counts of the kinds in `keygauge.kinds`, such as `input_audio`, `images`, `seconds`,
        `web_searches`. Counts of tokens are included in the input or output, not additional.

        Raises:
            ValueError: a count is not an integer, negative or too large, or a name is not a string.
            TypeError: a kind is unknown.
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
            _warn_about_late_usage()
            return
        stated = Usage(*counts, details=known or None)
        if model is not None and model != self.model and self.model is not None:
            self._turn_to(model)
        self.usage = (stated if self.usage is None else self.usage + stated).clipped()
        self.usage_status = "reported"
        self.model = model or self.model
        self.provider = provider or self.provider

    def _turn_to(self, model: str) -> None:
        """Set the current model's usage aside, and continue with another model's."""
        others = dict(self.others)
        if self.usage is not None and self.model is not None:
            others[self.model] = Stated(self.usage, self.provider, self.charged)
        self.usage, self.provider, self.charged = others.pop(model, (None, None, self.charged and UNREPORTED))
        self.model, self.others = model, others

    def lose_key(self) -> None:
        """Note that the key is not known, or no longer, as after a restore of the key service's database."""
        self.key, self.account, self.scopes, self.providers, self.policy = INVALID, None, (), None, None

    def hold(self) -> None:
        """Settle the call when the app is done with it instead of with the last byte of its answer.

        For usage that a background task records; call this before the answer ends. If the process is killed in between,
        the call is lost.
        """
        self.is_held = True


@cache  # once
def _warn_about_late_usage() -> None:
    _log.warning(
        "Usage recorded after the end of its call is not counted: call keygauge.current().hold() in the handler"
    )


CURRENT: ContextVar[Call | None] = ContextVar("keygauge_call", default=None)


def current() -> Call:
    """Return the current call, or outside a call, a dummy that is never read."""
    call = CURRENT.get()
    if call is None:
        return Call(method="", ip=None, time_ns=0, started_ns=0)
    return (_of_message() or call) if call.ended_ns else call


def _of_message() -> Call | None:
    """Return the call that carried the MCP message being answered: a server runs tools in the session's first call."""
    server: Any = sys.modules.get("mcp.server.lowlevel.server")
    context = server.request_ctx.get(None) if hasattr(server, "request_ctx") else None
    scope = getattr(getattr(context, "request", None), "scope", {})
    return scope.get(SCOPE_MARK) if isinstance(scope, MutableMapping) else None
