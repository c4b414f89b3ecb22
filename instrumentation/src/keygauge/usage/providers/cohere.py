"""Cohere, versions 1 and 2: the billed units, or if there are none, the tokens the model saw.

Version 2 reports `cached_tokens` next to both; they are part of the input. Reranking is billed per search unit,
classification per classification, embedding per token or image; image tokens are counted separately from text tokens.
Answers do not name the model: the request does. A failed stream ends with the finish reason `ERROR`.

https://docs.cohere.com/reference/chat and https://docs.cohere.com/v1/reference/chat
"""

from __future__ import annotations

from typing import Any

from keygauge.usage.found import Found, RawUsage, total

PROVIDER = "cohere"
MODELS = ("command", "embed-english", "embed-multilingual", "embed-v4", "rerank-", "c4ai-aya")
PREFIXES = ("cohere",)
_DETAILS = ("images", "search_units", "classifications")
_IMAGE = "image_tokens"  # of an embedding, not included in its `input_tokens`
_UNITS = frozenset({"input_tokens", "output_tokens", _IMAGE, *_DETAILS})


def read(usage: dict[str, Any]) -> Found | None:
    """Read `billed_units`, else `tokens`."""
    for name in ("billed_units", "tokens"):
        counts = usage.get(name)
        if isinstance(counts, dict) and not _UNITS.isdisjoint(counts):
            details = {kind: count for kind in _DETAILS if (count := counts.get(kind)) is not None and count != 0}
            given, image = counts.get("input_tokens"), counts.get(_IMAGE)
            if image is not None and image != 0:
                given, details["input_image"] = total((given, image)), image
            raw = RawUsage(given, counts.get("output_tokens"), usage.get("cached_tokens"), details=details)
            return Found(raw, PROVIDER, None, "final")
    return None


def read_end(event: dict[str, Any]) -> Found | None:
    """Read a `message-end` of version 2."""
    delta = event.get("delta")
    usage = delta.get("usage") if isinstance(delta, dict) else None
    return read(usage) if isinstance(usage, dict) else None


def read_meta(document: dict[str, Any]) -> Found | None:
    """Read `meta` of version 1, and of embeddings in both versions."""
    meta = document.get("meta")
    return read(meta) if isinstance(meta, dict) and "billed_units" in meta else None


def read_stream_end(event: dict[str, Any]) -> Found | None:
    """Read the answer in a `stream-end` of version 1."""
    response = event.get("response")
    return read_meta(response) if isinstance(response, dict) else None
