"""Amazon Bedrock Converse, and the metadata event of its stream, as an Amazon event or passed on as JSON.

`inputTokens` excludes cached tokens, except for OpenAI's models, as the total shows. Answers do not name the model: the
path does. InvokeModel answers in the format of the model's maker, in streams as base64 `bytes`; the last chunk has
`amazon-bedrock-invocationMetrics`. Titan and Llama have their own shapes.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html
"""

from __future__ import annotations

import re
from typing import Any

from keygauge.usage.counts import whole
from keygauge.usage.found import Found, RawUsage, first, total

PROVIDER = "aws.bedrock"
PREFIXES = ("bedrock",)
_METRICS = "amazon-bedrock-invocationMetrics"
_MODEL = re.compile(
    r"^(?:[a-z-]+\.)?(?:ai21|amazon|anthropic|cohere|deepseek|luma|meta|mistral|openai|qwen|stability|twelvelabs|writer)\."
)


_IMAGES = ("iVBOR", "/9j/", "UklGR")  # PNG, JPEG and WebP signatures in base64


def is_model(model: str) -> bool:
    """Return whether a model's name is a Bedrock id, with or without a region."""
    return _MODEL.match(model) is not None


def read(usage: dict[str, Any]) -> Found:
    """Read a `TokenUsage`."""
    kept = usage.get("cacheDetails")
    kept = [one for one in kept if isinstance(one, dict) and one.get("ttl") == "1h"] if isinstance(kept, list) else []
    hours = total(one.get("inputTokens") for one in kept)
    raw = RawUsage(
        usage.get("inputTokens"),
        usage.get("outputTokens"),
        first(usage, "cacheReadInputTokens", "cacheReadInputTokenCount"),  # the latter from Nova's InvokeModel
        first(usage, "cacheWriteInputTokens", "cacheWriteInputTokenCount"),
        details={} if hours == 0 else {"cache_write_1h": hours},
    )
    return Found(raw, PROVIDER, None, "final", cache_is_beside=not _is_cache_within(raw, usage.get("totalTokens")))


def read_titan(document: dict[str, Any]) -> Found:
    """Read an answer of Amazon Titan: text, an embedding, or a chunk; the last chunk has the output count."""
    results = document.get("results")
    counts = [one.get("tokenCount") for one in results if isinstance(one, dict)] if isinstance(results, list) else []
    made = counts[0] if len(counts) == 1 else sum(whole(count) or 0 for count in counts) if counts else None
    if made is None:
        made = document.get("totalOutputTextTokenCount")
    return Found(RawUsage(document.get("inputTextTokenCount"), made), PROVIDER, None, "final")


def read_images(document: dict[str, Any]) -> Found | None:
    """Count the images of Nova Canvas, Titan or Stability. In an answer too large to hold, their data is empty."""
    images = document.get("images")
    if not isinstance(images, list) or not images:
        return None
    if not all(isinstance(image, str) and (not image or image.startswith(_IMAGES)) for image in images):
        return None
    return Found(RawUsage(details={"images": len(images)}), PROVIDER, None, "final")


def read_llama(document: dict[str, Any]) -> Found:
    """Read an answer of Meta's Llama, or a chunk with counts so far."""
    raw = RawUsage(document.get("prompt_token_count"), document.get("generation_token_count"))
    return Found(raw, PROVIDER, None, "final" if document.get("stop_reason") else "running")


def read_metadata(event: dict[str, Any]) -> Found | None:
    """Read a `metadata` event."""
    metadata = event.get("metadata")
    usage = metadata.get("usage") if isinstance(metadata, dict) else None
    return read(usage) if isinstance(usage, dict) and "inputTokens" in usage else None


def read_metrics(event: dict[str, Any]) -> Found | None:
    """Read the metrics that InvokeModel adds to the last chunk of any model's stream."""
    metrics = event.get(_METRICS)
    if not isinstance(metrics, dict):
        return None
    raw = RawUsage(
        metrics.get("inputTokenCount"),
        metrics.get("outputTokenCount"),
        metrics.get("cacheReadInputTokenCount"),
        metrics.get("cacheWriteInputTokenCount"),
    )
    return Found(raw, PROVIDER, None, "final", cache_is_beside=True)


def _is_cache_within(raw: RawUsage, total: Any) -> bool:
    given, made, read, written = (whole(count) or 0 for count in raw[:4])
    return 0 < read + written <= given and whole(total) == given + made
