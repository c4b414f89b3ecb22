"""Anthropic Messages, whole and streamed: `message_start` has the input, each `message_delta` the output so far.

`input_tokens` are those that no cache had to do with. All counts are cumulative: where a later event tells 0 or less,
the larger number holds. Compaction tells the use of each of `iterations`, of which the outer counts leave out all but
the messages. A stream that fails has an event of type `error`.

https://docs.claude.com/en/api/messages and https://docs.claude.com/en/docs/build-with-claude/streaming
"""

from __future__ import annotations

from typing import Any

from keygauge.usage.counts import whole
from keygauge.usage.providers.found import Found, Stage, Told, inside
from keygauge.usage.providers.model import name_of

PROVIDER = "anthropic"
MODELS = ("claude",)


def is_shape(document: dict[str, Any], usage: dict[str, Any]) -> bool:
    """Tell whether a usage with `input_tokens` is Anthropic's and not that of OpenAI's Responses."""
    return (
        document.get("type") in ("message", "message_delta")  # no set: the type may be anything, a list even
        or "cache_read_input_tokens" in usage
        or "cache_creation_input_tokens" in usage
    )


def read(document: dict[str, Any], usage: dict[str, Any], *, stage: Stage = "final") -> Found:
    """Read a message or a `message_delta`."""
    told = Told(
        usage.get("input_tokens"),
        usage.get("output_tokens"),
        usage.get("cache_read_input_tokens"),
        usage.get("cache_creation_input_tokens"),
        inside(usage, "output_tokens_details").get("thinking_tokens"),
        details=_details(usage),
    )
    name = document.get("id")
    return Found(
        _with_compactions(told, usage.get("iterations")),
        PROVIDER,
        name_of(document.get("model")),
        stage,
        cache_is_beside=True,
        answer=name if isinstance(name, str) else None,
    )


def read_start(event: dict[str, Any]) -> Found | None:
    """Read the message in a `message_start`."""
    message = event.get("message")
    if not isinstance(message, dict) or not isinstance(usage := message.get("usage"), dict):
        return None
    return read(message, usage, stage="opening")


def _details(usage: dict[str, Any]) -> dict[str, Any]:
    told = {
        "cache_write_1h": inside(usage, "cache_creation").get("ephemeral_1h_input_tokens"),
        "web_searches": inside(usage, "server_tool_use").get("web_search_requests"),
    }
    return {kind: count for kind, count in told.items() if count is not None and count != 0}


def _with_compactions(told: Told, iterations: Any) -> Told:
    """Add what compacting the conversation took: it is billed, and not in the outer counts."""
    for one in iterations if isinstance(iterations, list) else ():
        if isinstance(one, dict) and one.get("type") == "compaction":
            given, made = whole(one.get("input_tokens")) or 0, whole(one.get("output_tokens")) or 0
            told = told._replace(input=(whole(told.input) or 0) + given, output=(whole(told.output) or 0) + made)
    return told
