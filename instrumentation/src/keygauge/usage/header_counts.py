"""Token counts in headers or trailers: TGI, Text Embeddings Inference, Bedrock's InvokeModel, and Fireworks.

Fireworks reports cached tokens in a header if its body leaves them out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from keygauge.usage.counts import Usage, whole

FIREWORKS: Final = "fireworks"
_CACHED: Final = "fireworks-cached-prompt-tokens"
_FIELDS: Final = {
    "x-prompt-tokens": "input_tokens",
    "x-generated-tokens": "output_tokens",
    "x-amzn-bedrock-input-token-count": "input_tokens",
    "x-amzn-bedrock-output-token-count": "output_tokens",
    "x-amzn-bedrock-cache-read-input-token-count": "cache_read_tokens",
    "x-amzn-bedrock-cache-write-input-token-count": "cache_write_tokens",
    "x-compute-tokens": "input_tokens",  # embeddings
    "x-usage-input-tokens": "input_tokens",
    "x-usage-output-tokens": "output_tokens",
}


def add_cached(usage: Usage, headers: Mapping[bytes, bytes] | Mapping[str, str]) -> Usage:
    """Add the cached tokens from Fireworks' header."""
    if usage.cache_read_tokens is None and usage.input_tokens is not None:
        for name, value in headers.items():
            if _text(name) == _CACHED and (count := whole(_text(value).strip())) is not None:
                return usage._replace(cache_read_tokens=min(count, usage.input_tokens))
    return usage


def read(headers: Mapping[bytes, bytes] | Mapping[str, str]) -> Usage | None:
    """Return the usage reported in headers; None if there is none."""
    counts: dict[str, int] = {}
    for name, value in headers.items():
        field = _FIELDS.get(_text(name))
        count = None if field is None else whole(_text(value).strip())
        if field is not None and count is not None:
            counts[field] = count
    usage = Usage._make([*(counts.get(name) for name in Usage._fields[:-1]), None])
    cached = (usage.cache_read_tokens or 0) + (usage.cache_write_tokens or 0)
    if cached and usage.input_tokens is not None:  # Bedrock does not include them in the input
        usage = usage._replace(input_tokens=usage.input_tokens + cached)
    return usage.clipped() if counts else None


def _text(value: bytes | str) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value
