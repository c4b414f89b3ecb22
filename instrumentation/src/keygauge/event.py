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

_encode = json.JSONEncoder(separators=(",", ":")).encode
_NO_USAGE = Usage()


def line(call: Call) -> bytes:
    """Write an ended call as a spool's line, newline included."""
    usage = call.usage or _NO_USAGE
    return (
        _encode(
            (
                call.time_ns // 1000,
                call.account,
                call.key,
                call.route,
                call.method,
                call.status,
                call.error,
                call.ip,
                (call.ended_ns - call.started_ns) // 1000,
                (call.first_byte_ns - call.started_ns) // 1000 if call.first_byte_ns else None,
                call.request_bytes,
                call.response_bytes,
                call.stream,
                call.messages,
                call.model,
                call.provider,
                *usage,
                call.usage_status,
                call.outcome,
                call.limit,
                call.trace_id,
            )
        )
        + "\n"
    ).encode("ascii")
