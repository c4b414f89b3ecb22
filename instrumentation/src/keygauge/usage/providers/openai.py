"""OpenAI: Chat Completions, Completions, Embeddings, Responses, Images, Audio, Realtime; and all who speak these.

Input and output include cached and reasoning tokens; counts of a stream stand in its last chunk, whose `choices` are
empty (`stream_options.include_usage`), or in the object of `response.completed`. Realtime sends a `response.done` for
each response. Errors are `{"error": {…}}`. Where `total_tokens` is more than input and output, the rest was output that
is not shown (Gemini's compatible API); where it stands alone it is input (embeddings).

https://platform.openai.com/docs/api-reference/chat/object, …/responses/object, …/realtime-server-events
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keygauge.usage.providers import deepseek, mistral, moonshot, perplexity, xai
from keygauge.usage.providers.found import Found, Stage, Told, first, inside, less
from keygauge.usage.providers.model import name_of

PROVIDER = "openai"
MODELS = (
    *("gpt-", "chatgpt-", "o1", "o3", "o4-", "text-embedding-", "text-davinci-", "davinci-", "babbage-", "codex-"),
    *("dall-e-", "whisper-1", "tts-1", "omni-moderation", "computer-use-preview", "sora-", "ft:gpt-"),
)


def read_chat(document: dict[str, Any], usage: dict[str, Any]) -> Found | None:
    """Read `prompt_tokens` and `completion_tokens`; a run of the Assistants tells those of its steps again."""
    if document.get("object") == "thread.run.step":
        return None
    given, made = inside(usage, "prompt_tokens_details"), inside(usage, "completion_tokens_details")
    model = name_of(document.get("model"))
    cached = first(given, "cached_tokens")
    if cached is None:
        cached = first(usage, deepseek.CACHE_READ, moonshot.CACHE_READ, "cache_read_input_tokens")
    return Found(
        Told(
            usage.get("prompt_tokens"),
            usage.get("completion_tokens"),
            cached,
            first(given, "cache_write_tokens", "cache_creation_tokens"),
            first(made, "reasoning_tokens") if made else usage.get(perplexity.REASONING),
            None,
            usage.get("total_tokens") if mistral.seconds_of(usage) is None else None,
            _details(given, made, usage),
        ),
        PROVIDER,
        model,
        _stage(document),
        reasoning_is_beside=xai.tells_reasoning_beside(model, usage, made),
        answer=_id(document),
    )


def read_response(document: dict[str, Any], usage: dict[str, Any], *, stage: Stage = "final") -> Found:
    """Read `input_tokens` and `output_tokens` of a Responses object, an image, a transcription, a Realtime response."""
    given = inside(usage, "input_tokens_details", "input_token_details")
    made = inside(usage, "output_tokens_details", "output_token_details")
    return Found(
        Told(
            usage.get("input_tokens"),
            usage.get("output_tokens"),
            given.get("cached_tokens"),
            given.get("cache_write_tokens"),
            made.get("reasoning_tokens"),
            None,
            usage.get("total_tokens"),
            _details(given, made, usage) | _searches(document.get("output")),
        ),
        PROVIDER if "total_tokens" in usage else None,
        name_of(document.get("model")),
        stage,
        answer=_id(document),
    )


def read_seconds(document: dict[str, Any], usage: dict[str, Any]) -> Found:
    """Read `{"type": "duration", "seconds": …}`: a transcription that is sold by the second."""
    return Found(
        Told(details={"seconds": _rounded_up(usage.get("seconds"))}), PROVIDER, name_of(document.get("model")), "final"
    )


def read_envelope(event: dict[str, Any]) -> Found | None:
    """Read the object in `response.completed`, `.incomplete`, `.failed` and `.done`; before those its usage is null."""
    response = event.get("response")
    if not isinstance(response, dict) or not isinstance(usage := response.get("usage"), dict):
        return None
    return read_response(response, usage)


def _details(given: Mapping[str, Any], made: Mapping[str, Any], usage: Mapping[str, Any]) -> dict[str, Any]:
    """Count audio and images; `audio_tokens` of the input include those that were cached, where these are told."""
    cached = inside(given, "cached_tokens_details")
    told: dict[str, Any] = {}
    for kind in ("audio", "image"):
        name = f"{kind}_tokens"
        all_given, from_cache = given.get(name), cached.get(name)
        told[f"input_{kind}"] = less(all_given, from_cache)
        told[f"cache_read_{kind}"] = from_cache
        told[f"output_{kind}"] = made.get(name)
    told["web_searches"] = first(usage, perplexity.SEARCHES, xai.SEARCHES)
    if told["web_searches"] is None:
        told["web_searches"] = inside(usage, "server_tool_use").get("web_search_requests")
    told["seconds"] = mistral.seconds_of(usage)
    return {kind: count for kind, count in told.items() if count is not None and count != 0}


def _searches(output: Any) -> dict[str, int]:
    """Count the calls of hosted tools among a response's output."""
    kinds = [item.get("type") for item in output if isinstance(item, dict)] if isinstance(output, list) else []
    counts = {"web_searches": kinds.count("web_search_call"), "file_searches": kinds.count("file_search_call")}
    return {kind: count for kind, count in counts.items() if count}


def _rounded_up(seconds: Any) -> Any:
    return -int(-seconds // 1) if isinstance(seconds, int | float) and 0 <= seconds < 1e9 else seconds  # noqa: PLR2004


def _id(document: dict[str, Any]) -> str | None:
    name = document.get("id") or document.get("item_id")  # of what was heard, in a Realtime session
    return name if isinstance(name, str) and name else None


def _stage(document: dict[str, Any]) -> Stage:
    # vLLM can tell counts in every chunk. The last has no choices, or, elsewhere, choices that are finished.
    choices = document.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if not isinstance(choice, dict) or not choice.get("finish_reason"):
            return "running"
    return "final"
