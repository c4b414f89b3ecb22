"""One line of the usage ledger, as a spool holds it: a JSON array in the order of `FIELDS`."""

from __future__ import annotations

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
