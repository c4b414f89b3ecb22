"""Anthropic Messages, whole and streamed: `message_start` has the input, each `message_delta` the output so far.

`input_tokens` excludes tokens read from or written to a cache. All counts are cumulative: if a later event reports 0 or
less, the larger number applies. `iterations` has the usage of each step: the outer counts exclude compactions, which
are added, and advice from other models, which is billed at their rates. If a model declined and another one served, the
counts are the serving one's; the declined attempt is billed at its own rates if it had begun to answer. A stream that
fails has an event of type `error`.
A session of Managed Agents shows the sum of its turns' usage, which belongs to no single answer.

https://docs.claude.com/en/api/messages and https://docs.claude.com/en/docs/build-with-claude/streaming,
https://docs.claude.com/en/docs/build-with-claude/refusals-and-fallback,
https://docs.claude.com/en/api/beta/sessions/retrieve
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keygauge.usage.found import Found, RawUsage, Stage, add, by_kind, inside, total
from keygauge.usage.model_name import name_of

PROVIDER = "anthropic"
MODELS = ("claude",)
PREFIXES = ("anthropic",)
_HOUR = "cache_write_1h"
_WRITES = ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens")
_SESSIONS = ("session", "session_thread")
_TOOLS = {"web_search_requests": "web_searches"}


def is_shape(document: dict[str, Any], usage: dict[str, Any]) -> bool:
    """Return whether a usage with `input_tokens` is Anthropic's, not OpenAI's Responses'."""
    return (
        document.get("type") in ("message", "message_delta")  # not a set: the type may be unhashable
        or "cache_read_input_tokens" in usage
        or "cache_creation_input_tokens" in usage
        or "cache_creation" in usage
    )


def is_session(document: dict[str, Any]) -> bool:
    """Return whether a document is a Managed Agents session or one of its threads."""
    return document.get("type") in _SESSIONS


def read(document: dict[str, Any], usage: dict[str, Any], *, stage: Stage = "final") -> Found:
    """Read a message or a `message_delta`."""
    name = document.get("id")
    others, served = _others(usage) if usage.get("iterations") else ((), None)
    return Found(
        _with_compactions(_raw(usage), usage),
        PROVIDER,
        served or name_of(document.get("model")),
        stage,
        cache_is_beside=True,
        answer=name if isinstance(name, str) else None,
        others=others,
        replaces=served is not None,
    )


def read_start(event: dict[str, Any]) -> Found | None:
    """Read the message in a `message_start`."""
    message = event.get("message")
    if not isinstance(message, dict) or not isinstance(usage := message.get("usage"), dict):
        return None
    return read(message, usage, stage="opening")


def _raw(usage: dict[str, Any]) -> RawUsage:
    return RawUsage(
        usage.get("input_tokens"),
        usage.get("output_tokens"),
        usage.get("cache_read_input_tokens"),
        _written(usage),
        inside(usage, "output_tokens_details").get("thinking_tokens"),
        details=_details(usage),
    )


def _written(usage: dict[str, Any]) -> Any:
    """Return the tokens written to a cache; some gateways leave out the sum of its two kinds."""
    written, kinds = usage.get("cache_creation_input_tokens"), inside(usage, "cache_creation")
    return total(map(kinds.get, _WRITES)) if written is None and kinds else written


def _details(usage: dict[str, Any]) -> dict[str, Any]:
    tools = inside(usage, "server_tool_use")
    details = {
        _HOUR: inside(usage, "cache_creation").get("ephemeral_1h_input_tokens"),
    } | by_kind(tools, _TOOLS, "tool_calls")
    return {kind: count for kind, count in details.items() if count is not None and count != 0}


def _others(usage: dict[str, Any]) -> tuple[Sequence[tuple[str, RawUsage]], str | None]:
    """Return the billed usage of other models, and the model that served instead of one that declined."""
    fallbacks = _steps(usage, "fallback_message")
    served = name_of(fallbacks[-1].get("model")) if fallbacks else None
    declined = [one for one in (*_steps(usage, "message"), *fallbacks[:-1]) if fallbacks and one.get("output_tokens")]
    steps = [*_steps(usage, "advisor_message"), *declined]
    return [(model, _raw(one)) for one in steps if (model := name_of(one.get("model")))], served


def _steps(usage: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    steps = usage.get("iterations")
    return (
        [one for one in steps if isinstance(one, dict) and one.get("type") == kind] if isinstance(steps, list) else []
    )


def _with_compactions(raw: RawUsage, usage: dict[str, Any]) -> RawUsage:
    """Add the usage of compacting the conversation, which is billed but not in the outer counts."""
    for step in _steps(usage, "compaction"):
        more = _raw(step)
        sums = list(map(add, (*raw[:4], raw.details.get(_HOUR)), (*more[:4], more.details.get(_HOUR))))
        given, made, read, written, hours = (count for count, _ in sums)
        details = {**raw.details, _HOUR: hours} if hours else raw.details
        is_spoiled = raw.is_spoiled or any(is_bad for _, is_bad in sums)
        raw = RawUsage(given, made, read, written, raw.reasoning, details=details, is_spoiled=is_spoiled)
    return raw
