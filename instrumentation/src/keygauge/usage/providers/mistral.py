"""Mistral: OpenAI's shape; transcriptions and audio prompts report `prompt_audio_seconds`.

Audio is billed per second; its tokens are the part of the total beyond input and output. Conversations report their
connectors' tokens, which are input, and the number of calls of each. OCR reports `pages_processed`.

https://docs.mistral.ai/api/endpoint/chat, …/agents/conversations and …/ocr
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from keygauge.usage.counts import whole
from keygauge.usage.found import Found, RawUsage, by_kind, inside
from keygauge.usage.model_name import name_of

PROVIDER: Final = "mistral_ai"
PREFIXES: Final = ("mistral", "mistralai")
_AUDIO_SECONDS: Final = "prompt_audio_seconds"
CACHE_READ: Final = "num_cached_tokens"
CONNECTORS: Final = "connector_tokens"
_CONNECTOR_KINDS: Final = {
    "web_search": "web_searches",
    "web_search_premium": "web_searches",
    "document_library": "file_searches",
    "image_generation": "images",
}

# The names in Mistral's own API; other hosts use different ones ("mistralai/…", "mistral:7b").
MODELS: Final = (
    *("mistral-", "ministral-", "magistral-", "codestral-", "devstral-", "pixtral-", "voxtral-"),
    *("open-mistral-", "open-mixtral-"),
)


def seconds_of(usage: Mapping[str, Any]) -> Any:
    """Return the seconds of audio; None if there is none: null, 0, or `{}` with a total of input plus output."""
    seconds = usage.get(_AUDIO_SECONDS)
    if seconds == {}:
        parts = [whole(usage.get(name)) or 0 for name in ("prompt_tokens", "completion_tokens")]
        return None if sum(parts) == whole(usage.get("total_tokens")) else seconds
    return seconds or None


def calls_of(usage: Mapping[str, Any]) -> dict[str, Any]:
    """Count the calls of connectors, by kind."""
    return by_kind(inside(usage, "connectors"), _CONNECTOR_KINDS, "tool_calls")


def model_in(conversation: Mapping[str, Any]) -> str | None:
    """Return the model named in a conversation's outputs; an agent's is named nowhere else."""
    outputs = conversation.get("outputs")
    models = [name_of(one.get("model")) for one in outputs if isinstance(one, dict)] if type(outputs) is list else []
    return next(filter(None, models), None)


def read_pages(document: dict[str, Any]) -> Found | None:
    """Read the `usage_info` of OCR."""
    pages = inside(document, "usage_info").get("pages_processed")
    if pages is None:
        return None
    return Found(RawUsage(details={"pages": pages}), PROVIDER, name_of(document.get("model")), "final")
