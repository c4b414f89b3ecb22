"""Gemini generateContent and streamGenerateContent (events, or one JSON array), embeddings, Live and Interactions.

The candidates' count excludes thoughts; the prompt's excludes tool results and includes cached tokens. Each chunk of a
stream has the counts so far; some have thoughts in the first one only. Interactions report the same as
`total_…_tokens`, the Python SDK in snake case. Grounding is billed per search from Gemini 3 on, before that per prompt.

https://ai.google.dev/api/generate-content#UsageMetadata and https://ai.google.dev/api/interactions-api
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from keygauge.usage.counts import whole
from keygauge.usage.found import Found, RawUsage, Stage, first, inside, less, total
from keygauge.usage.model_name import name_of

PROVIDER = "gcp.gemini"
MODELS = ("gemini-", "models/gemini", "imagen-", "veo-")
PREFIXES = ("google", "gemini")
_BY_PROMPT = re.compile(r"gemini-[12]\b").search
_AFTER_A_LINE = re.compile("_([a-z])")


class _Parts(NamedTuple):
    """The members of a usage with its tokens by modality."""

    given: tuple[str, ...]
    tools: tuple[str, ...]
    cached: tuple[str, ...]
    made: tuple[str, ...]


_PARTS = _Parts(
    ("promptTokensDetails",),
    ("toolUsePromptTokensDetails",),
    ("cacheTokensDetails",),
    ("candidatesTokensDetails", "responseTokensDetails"),
)
_INTERACTION_PARTS = _Parts(
    ("input_tokens_by_modality",),
    ("tool_use_tokens_by_modality",),
    ("cached_tokens_by_modality",),
    ("output_tokens_by_modality",),
)
_MODALITIES = {"AUDIO": "audio", "IMAGE": "image", "VIDEO": "video"}


def read(document: dict[str, Any]) -> Found | None:
    """Read `usageMetadata`."""
    usage = document.get("usageMetadata")
    if not isinstance(usage, dict):
        return None
    model = name_of(document.get("modelVersion"))
    return Found(
        RawUsage(
            usage.get("promptTokenCount"),
            first(usage, "candidatesTokenCount", "responseTokenCount"),
            usage.get("cachedContentTokenCount"),
            None,
            usage.get("thoughtsTokenCount"),
            usage.get("toolUsePromptTokenCount"),
            usage.get("totalTokenCount"),
            _details(usage, "tokenCount", _PARTS) | _searches(document, model),
        ),
        PROVIDER,
        model,
        _stage(document),
        reasoning_is_beside=True,
    )


def read_snake_case(document: dict[str, Any]) -> Found | None:
    """Read an answer as dumped by the Python SDK's models."""
    usage = document.get("usage_metadata")
    if not isinstance(usage, dict) or "prompt_token_count" not in usage:
        return None
    candidates = document.get("candidates")
    return read(
        {
            "usageMetadata": _camel(usage),
            "modelVersion": document.get("model_version"),
            "candidates": list(map(_camel, candidates)) if isinstance(candidates, list) else None,
        }
    )


def read_list(documents: list[Any]) -> list[Found]:
    """Read an array of chunks, each with the counts so far."""
    found = [read(document) for document in documents if isinstance(document, dict)]
    return [one for one in found if one is not None]


def chunks_in(document: object) -> list[dict[str, Any]]:
    """Return the chunks of a stream that is one JSON array; none if the document is anything else."""
    elements = document if isinstance(document, list) else ()
    return [one for one in elements if isinstance(one, dict) and isinstance(one.get("candidates"), list)]


def read_predictions(document: dict[str, Any]) -> Found | None:
    """Read Vertex predictions: tokens per text and billable characters of embeddings, or images."""
    predictions = document.get("predictions")
    if not isinstance(predictions, list):
        return None
    images = [one for one in predictions if str(inside({"": one}, "").get("mimeType")).startswith("image/")]
    if images:
        return Found(RawUsage(details={"images": len(images)}), PROVIDER, None, "final")
    embeddings = [inside(one, "embeddings") for one in predictions]
    counts = [whole(inside(one, "statistics").get("token_count")) for one in embeddings]
    if not any(counts):
        return None
    characters = inside(document, "metadata").get("billableCharacterCount")
    details = {} if characters is None else {"characters": characters}
    return Found(RawUsage(sum(count or 0 for count in counts), details=details), "gcp.vertex_ai", None, "final")


def read_interaction(document: dict[str, Any], usage: dict[str, Any]) -> Found:
    """Read an interaction's `usage`."""
    return Found(
        RawUsage(
            usage.get("total_input_tokens"),
            usage.get("total_output_tokens"),
            usage.get("total_cached_tokens"),
            None,
            usage.get("total_thought_tokens", usage.get("total_reasoning_tokens")),
            usage.get("total_tool_use_tokens"),
            usage.get("total_tokens"),
            _details(usage, "tokens", _INTERACTION_PARTS) | _grounding(usage.get("grounding_tool_count")),
        ),
        PROVIDER,
        name_of(document.get("model")),
        "final",
        reasoning_is_beside=True,
    )


def _details(usage: dict[str, Any], name: str, parts: _Parts) -> dict[str, Any]:
    cached = _by_modality(first(usage, *parts.cached), name)
    tools = _by_modality(first(usage, *parts.tools), name)
    details: dict[str, Any] = {}
    for kind, count in _by_modality(first(usage, *parts.given), name).items():
        details[f"input_{kind}"] = less(count, cached.get(kind))
    for kind, count in tools.items():
        details[f"input_{kind}"] = total((details.get(f"input_{kind}"), count))
    details |= {f"cache_read_{kind}": count for kind, count in cached.items() if kind != "video"}
    details |= {f"output_{kind}": count for kind, count in _by_modality(first(usage, *parts.made), name).items()}
    return details


def _by_modality(details: Any, name: str) -> dict[str, Any]:
    counts = {}
    for one in details if isinstance(details, list) else ():
        modality = one.get("modality") if isinstance(one, dict) else None
        kind = _MODALITIES.get(modality.upper()) if isinstance(modality, str) else None
        if kind is not None and (count := one.get(name)) is not None:
            counts[kind] = count
    return counts


def _searches(document: dict[str, Any], model: str | None) -> dict[str, int]:
    """Count the billed searches of grounding."""
    candidates = document.get("candidates")
    grounds = [inside(one, "groundingMetadata") for one in candidates] if isinstance(candidates, list) else []
    queries = [query for one in grounds for query in one.get("webSearchQueries") or () if query]
    count = min(len(queries), 1) if model is not None and _BY_PROMPT(model) else len(queries)
    return {"web_searches": count} if count else {}


def _grounding(metadata: Any) -> dict[str, Any]:
    searches = total(one.get("count") for one in metadata if isinstance(one, dict)) if isinstance(metadata, list) else 0
    return {} if searches == 0 else {"web_searches": searches}


def _camel(fields: Any) -> Any:
    """Return a value with all member names, including nested ones, in the API's camel case."""
    if isinstance(fields, list):
        return list(map(_camel, fields))
    if not isinstance(fields, dict):
        return fields
    return {_AFTER_A_LINE.sub(lambda letter: letter[1].upper(), name): _camel(value) for name, value in fields.items()}


def ends_turn(document: object) -> bool:
    """Return whether a Live message ends a turn. The next turn is billed separately, including all earlier context."""
    return bool(inside(inside({"": document}, ""), "serverContent").get("turnComplete"))


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
