"""One line of the usage ledger, as a spool holds it: a JSON array in the order of `FIELDS`."""

from __future__ import annotations

import json

from keygauge.call import Call
from keygauge.usage import Usage

# Times in microseconds (`time` since 1970 UTC), sizes in bytes. null is "not known", never 0.
FIELDS = (
    "time_us",
    "account",
    "key",
    "route",
    "method",
    "status",
    "error",
    "ip",
    "duration_us",
    "first_token_us",
    "request_bytes",
    "response_bytes",
    "stream",
    "messages",
    "model",
    "provider",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "usage_status",
    "outcome",
    "limit",
    "trace_id",
)

_NO_USAGE = Usage()
_LINE = "[" + ",".join(["%s"] * len(FIELDS)) + "]\n"
_MOST_TEXTS = 10_000

_texts: dict[str | None, str] = {None: "null"}  # as JSON, since the same few come again and again


def line(call: Call) -> bytes:
    """Write an ended call as a spool's line, newline included."""
    text = _texts.get
    first_byte_ns = call.first_byte_ns
    started_ns = call.started_ns
    return (
        _LINE
        % (
            call.time_ns // 1000,
            text(call.account) or _text(call.account),
            text(call.key) or _text(call.key),
            text(call.route) or _text(call.route),
            text(call.method) or _text(call.method),
            call.status,
            text(call.error) or _text(call.error),
            text(call.ip) or _text(call.ip),
            (call.ended_ns - started_ns) // 1000,
            (first_byte_ns - started_ns) // 1000 if first_byte_ns else "null",
            call.request_bytes,
            call.response_bytes,
            text(call.stream) or _text(call.stream),
            call.messages,
            text(call.model) or _text(call.model),
            text(call.provider) or _text(call.provider),
            *["null" if count is None else count for count in call.usage or _NO_USAGE],
            text(call.usage_status) or _text(call.usage_status),
            text(call.outcome) or _text(call.outcome),
            text(call.limit) or _text(call.limit),
            json.dumps(call.trace_id) if call.trace_id else "null",
        )
    ).encode("ascii")


def _text(value: str | None) -> str:
    """Write a text as JSON and keep it; hostile variety only empties what is kept."""
    if len(_texts) >= _MOST_TEXTS:
        _texts.clear()
        _texts[None] = "null"
    written = _texts[value] = json.dumps(value)
    return written
