"""Cohere, versions 1 and 2: the units billed, or where there are none the tokens the model saw.

https://docs.cohere.com/reference/chat and https://docs.cohere.com/v1/reference/chat
"""

from __future__ import annotations

from typing import Any

from keygauge.usage.counts import Usage
from keygauge.usage.providers.found import Found

PROVIDER = "cohere"


def read(usage: dict[str, Any]) -> Found | None:
    """Read `billed_units`, else `tokens`. Cohere's answers do not name the model."""
    for name in ("billed_units", "tokens"):
        counts = usage.get(name)
        if isinstance(counts, dict) and ("input_tokens" in counts or "output_tokens" in counts):
            return Found(Usage(counts.get("input_tokens"), counts.get("output_tokens")), PROVIDER, None, "final")
    return None


def read_end(event: dict[str, Any]) -> Found | None:
    """Read a `message-end` of version 2."""
    delta = event.get("delta")
    usage = delta.get("usage") if isinstance(delta, dict) else None
    return read(usage) if isinstance(usage, dict) else None


def read_meta(document: dict[str, Any]) -> Found | None:
    """Read `meta` of version 1, and of embeddings in both."""
    meta = document.get("meta")
    return read(meta) if isinstance(meta, dict) and "billed_units" in meta else None


def read_stream_end(event: dict[str, Any]) -> Found | None:
    """Read the answer in a `stream-end` of version 1."""
    response = event.get("response")
    return read_meta(response) if isinstance(response, dict) else None
