"""Gemini generateContent and streamGenerateContent (events, or one JSON array), embeddings, Live and Interactions.

Thoughts count beside the candidates, tool results beside the prompt, cached tokens in it. Each chunk of a stream tells
counts so far; some tell thoughts in the first one only. Interactions tell the same as `total_…_tokens`.

https://ai.google.dev/api/generate-content#UsageMetadata and https://ai.google.dev/api/interactions-api
"""

from __future__ import annotations

from typing import Any

from keygauge.usage.counts import whole
from keygauge.usage.providers.found import Found, Stage, Told, first, inside, less
from keygauge.usage.providers.model import name_of

PROVIDER = "gcp.gemini"
MODELS = ("gemini-", "models/gemini", "imagen-", "veo-")
_OUTPUT_DETAILS = ("candidatesTokensDetails", "responseTokensDetails")
_MODALITIES = {"AUDIO": "audio", "IMAGE": "image", "VIDEO": "video"}


def read(document: dict[str, Any]) -> Found | None:
    """Read `usageMetadata`."""
    usage = document.get("usageMetadata")
    if not isinstance(usage, dict):
        return None
    return Found(
        Told(
            usage.get("promptTokenCount"),
            first(usage, "candidatesTokenCount", "responseTokenCount"),
            usage.get("cachedContentTokenCount"),
            None,
            usage.get("thoughtsTokenCount"),
            usage.get("toolUsePromptTokenCount"),
            usage.get("totalTokenCount"),
            _details(usage),
        ),
        PROVIDER,
        name_of(document.get("modelVersion")),
        _stage(document),
        reasoning_is_beside=True,
    )


def read_list(documents: list[Any]) -> list[Found]:
    """Read an array of answers, each of which tells the counts so far."""
    found = [read(document) for document in documents if isinstance(document, dict)]
    return [one for one in found if one is not None]


def read_predictions(document: dict[str, Any]) -> Found | None:
    """Read the embeddings of Vertex: tokens of each text, and the characters that some models are billed by."""
    predictions = document.get("predictions")
    told = [inside(one, "embeddings") for one in predictions] if isinstance(predictions, list) else []
    counts = [whole(inside(one, "statistics").get("token_count")) for one in told]
    if not any(counts):
        return None
    characters = inside(document, "metadata").get("billableCharacterCount")
    details = {} if characters is None else {"characters": characters}
    return Found(Told(sum(count or 0 for count in counts), details=details), "gcp.vertex_ai", None, "final")


def read_interaction(document: dict[str, Any], usage: dict[str, Any]) -> Found:
    """Read an interaction's `usage`."""
    return Found(
        Told(
            usage.get("total_input_tokens"),
            usage.get("total_output_tokens"),
            usage.get("total_cached_tokens"),
            None,
            usage.get("total_thought_tokens", usage.get("total_reasoning_tokens")),
            usage.get("total_tool_use_tokens"),
            usage.get("total_tokens"),
        ),
        PROVIDER,
        name_of(document.get("model")),
        "final",
        reasoning_is_beside=True,
    )


def _details(usage: dict[str, Any]) -> dict[str, Any]:
    cached = _by_modality(usage.get("cacheTokensDetails"))
    told: dict[str, Any] = {}
    for kind, count in _by_modality(usage.get("promptTokensDetails")).items():
        from_cache = cached.get(kind)
        told[f"input_{kind}"] = less(count, from_cache)
    told |= {f"cache_read_{kind}": count for kind, count in cached.items() if kind != "video"}
    told |= {f"output_{kind}": count for kind, count in _by_modality(first(usage, *_OUTPUT_DETAILS)).items()}
    return told


def _by_modality(details: Any) -> dict[str, Any]:
    counts = {}
    for one in details if isinstance(details, list) else ():
        modality = one.get("modality") if isinstance(one, dict) else None
        if isinstance(modality, str) and modality in _MODALITIES and (count := one.get("tokenCount")) is not None:
            counts[_MODALITIES[modality]] = count
    return counts


def _stage(document: dict[str, Any]) -> Stage:
    if inside(document, "serverContent").get("turnComplete"):
        return "final"
    candidates = document.get("candidates")
    if not isinstance(candidates, list) or not candidates:
        return "running"
    for candidate in candidates:
        if not isinstance(candidate, dict) or not candidate.get("finishReason"):
            return "running"
    return "final"
