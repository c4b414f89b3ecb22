"""Anthropic Messages, whole and streamed: `message_start` has the input, each `message_delta` the output so far.

https://docs.claude.com/en/api/messages and https://docs.claude.com/en/docs/build-with-claude/streaming
"""

from __future__ import annotations

from typing import Any

from keygauge.usage.counts import Usage
from keygauge.usage.providers.found import Found, Stage
from keygauge.usage.providers.model import name_of

PROVIDER = "anthropic"


def is_shape(document: dict[str, Any], usage: dict[str, Any]) -> bool:
    """Tell whether a usage with `input_tokens` is Anthropic's and not that of OpenAI's Responses."""
    return (
        document.get("type") in ("message", "message_delta")  # no set: the type may be anything, a list even
        or "cache_read_input_tokens" in usage
        or "cache_creation_input_tokens" in usage
    )


def read(document: dict[str, Any], usage: dict[str, Any], *, stage: Stage = "final") -> Found:
    """Read a message or a `message_delta`. `input_tokens` are those that no cache had to do with."""
    details = usage.get("output_tokens_details")
    return Found(
        Usage(
            usage.get("input_tokens"),
            usage.get("output_tokens"),
            usage.get("cache_read_input_tokens"),
            usage.get("cache_creation_input_tokens"),
            details.get("thinking_tokens") if isinstance(details, dict) else None,
        ),
        PROVIDER,
        name_of(document.get("model")),
        stage,
        excludes_cache=True,
    )


def read_start(event: dict[str, Any]) -> Found | None:
    """Read the message in a `message_start`."""
    message = event.get("message")
    if not isinstance(message, dict) or not isinstance(usage := message.get("usage"), dict):
        return None
    return read(message, usage, stage="opening")
