"""Mistral: OpenAI's shape; transcriptions and audio prompts tell `prompt_audio_seconds`.

Audio is billed by the second; what the total has beyond the other two are its tokens. Conversations tell what their
connectors took: tokens that are input, and how often each was called. OCR tells `pages_processed`.

https://docs.mistral.ai/api/endpoint/chat, …/agents/conversations and …/ocr
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from keygauge.usage.counts import whole
from keygauge.usage.providers.found import Found, RawUsage, by_kind, inside
from keygauge.usage.providers.model import name_of

PROVIDER: Final = "mistral_ai"
_AUDIO_SECONDS: Final = "prompt_audio_seconds"
CACHE_READ: Final = "num_cached_tokens"
CONNECTORS: Final = "connector_tokens"
_CONNECTOR_KINDS: Final = {
    "web_search": "web_searches",
    "web_search_premium": "web_searches",
    "document_library": "file_searches",
    "image_generation": "images",
}

# The names of its own API; elsewhere these models go by others ("mistralai/…", "mistral:7b").
MODELS: Final = (
    *("mistral-", "ministral-", "magistral-", "codestral-", "devstral-", "pixtral-", "voxtral-"),
    *("open-mistral-", "open-mixtral-"),
)


def seconds_of(usage: Mapping[str, Any]) -> Any:
    """Return the seconds of audio; None where there was none: null, 0, or `{}` beside a total that has no more."""
    seconds = usage.get(_AUDIO_SECONDS)
    if seconds == {}:
        parts = [whole(usage.get(name)) or 0 for name in ("prompt_tokens", "completion_tokens")]
        return None if sum(parts) == whole(usage.get("total_tokens")) else seconds
    return seconds or None


def calls_of(usage: Mapping[str, Any]) -> dict[str, Any]:
    """Count what connectors did, by kind."""
    return by_kind(inside(usage, "connectors"), _CONNECTOR_KINDS, "tool_calls")


def model_in(conversation: Mapping[str, Any]) -> str | None:
    """Return the model that a conversation's outputs name; an agent's is named nowhere else."""
    outputs = conversation.get("outputs")
    models = [name_of(one.get("model")) for one in outputs if isinstance(one, dict)] if type(outputs) is list else []
    return next(filter(None, models), None)


def read_pages(document: dict[str, Any]) -> Found | None:
    """Read the `usage_info` of OCR."""
    pages = inside(document, "usage_info").get("pages_processed")
    if pages is None:
        return None
    return Found(RawUsage(details={"pages": pages}), PROVIDER, name_of(document.get("model")), "final")
