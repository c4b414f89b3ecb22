"""Amazon Bedrock Converse, and the metadata event of its stream where a gateway passes it on as JSON.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html
"""

from __future__ import annotations

from typing import Any

from keygauge.usage.counts import Usage
from keygauge.usage.providers.found import Found

PROVIDER = "aws.bedrock"


def read(usage: dict[str, Any]) -> Found:
    """Read `inputTokens`, which leave cached ones out. Converse does not name the model."""
    return Found(
        Usage(
            usage.get("inputTokens"),
            usage.get("outputTokens"),
            usage.get("cacheReadInputTokens"),
            usage.get("cacheWriteInputTokens"),
        ),
        PROVIDER,
        None,
        "final",
        excludes_cache=True,
    )


def read_metadata(event: dict[str, Any]) -> Found | None:
    """Read a `metadata` event."""
    metadata = event.get("metadata")
    usage = metadata.get("usage") if isinstance(metadata, dict) else None
    return read(usage) if isinstance(usage, dict) and "inputTokens" in usage else None
