"""The record of one request: what every part of the middleware reads and writes while the request passes."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Literal

from keygauge.usage import Usage
from keygauge.usage.counts import MAX_TOKENS

Outcome = Literal[
    "admitted",
    "limited",
    "quota",
    "revoked",
    "expired",
    "unknown",
    "forbidden",
    "unavailable",
    "would_limit",  # admitted, though a limit that is only tried would have refused
    "degraded",  # admitted without a lease while the key service was away, by a limit that says `safe`
]
UsageStatus = Literal["reported", "partial", "estimated", "none"]
StreamKind = Literal["sse", "websocket"]

ANONYMOUS = "anonymous"  # the key id of calls that carried no key
INVALID = "invalid"  # … whose key is garbage or not known: attackers mint no series
UNMATCHED = "_unmatched"  # the route of calls that no route of the host took


class Call:
    """One request. Times `*_ns` are `keygauge.clock.now_ns`, but `time_ns` is the wall clock; sizes are body bytes."""

    __slots__ = (
        "account",  # str | None
        "context",  # the OpenTelemetry context the request ran in, for exemplars
        "ended_ns",
        "error",  # str | None: an exception's class or a refusal's code
        "estimate",  # of what it will use; None until its body is read, where that is needed
        "first_byte_ns",  # 0 until the first body byte of the answer
        "ip",
        "key",  # the key's id, ANONYMOUS or INVALID
        "limit",  # str | None: the limit that refused
        "messages",  # on a stream
        "method",
        "missing",  # str | None: why a successful answer told no usage
        "model",  # str | None: as the answer named it
        "outcome",
        "provider",
        "request_bytes",
        "reservation",  # what it took of its limits, until settled
        "response_bytes",
        "route",
        "scopes",  # those of the key; what they allow is the app's to say
        "started_ns",
        "status",
        "stream",  # StreamKind | None
        "time_ns",
        "trace_id",  # str | None
        "usage",  # Usage | None
        "usage_status",
    )

    def __init__(self, *, method: str, ip: str | None, time_ns: int, started_ns: int) -> None:
        self.account: str | None = None
        self.context: Any = None
        self.ended_ns = 0
        self.error: str | None = None
        self.estimate: Any = None
        self.first_byte_ns = 0
        self.ip = ip
        self.key = ANONYMOUS
        self.limit: str | None = None
        self.messages = 0
        self.method = method
        self.missing: str | None = None
        self.model: str | None = None
        self.outcome: Outcome = "admitted"
        self.provider: str | None = None
        self.request_bytes = 0
        self.reservation: Any = None
        self.response_bytes = 0
        self.route = UNMATCHED
        self.scopes: tuple[str, ...] = ()
        self.started_ns = started_ns
        self.status = 0
        self.stream: StreamKind | None = None
        self.time_ns = time_ns
        self.trace_id: str | None = None
        self.usage: Usage | None = None
        self.usage_status: UsageStatus = "none"

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
    ) -> None:
        """State this call's token usage from inside the app; may be called many times, counts add up.

        Raises:
            ValueError: a count is negative or no integer.
        """
        stated = Usage(input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens)
        for name, count in zip(Usage._fields, stated, strict=True):
            if count is not None and (type(count) is not int or not 0 <= count <= MAX_TOKENS):
                raise ValueError(f"{name} is {count!r}: give a whole number from 0 to {MAX_TOKENS}, or leave it out")
        total = stated if self.usage is None else self.usage + stated
        self.usage = Usage(*(None if count is None else min(count, MAX_TOKENS) for count in total))
        self.usage_status = "reported"
        self.model = model or self.model
        self.provider = provider or self.provider


CURRENT: ContextVar[Call | None] = ContextVar("keygauge_call", default=None)


def current() -> Call:
    """Return the call being answered; outside of one, a call that nothing reads."""
    return CURRENT.get() or Call(method="", ip=None, time_ns=0, started_ns=0)
