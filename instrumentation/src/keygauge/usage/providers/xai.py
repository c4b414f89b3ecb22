"""xAI: OpenAI's shape, but `completion_tokens` excludes reasoning tokens, as the total shows.

https://docs.x.ai/docs/api-reference#chat-completions
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from keygauge.usage.counts import whole
from keygauge.usage.found import by_kind

PROVIDER: Final = "x_ai"
MODELS: Final = ("grok-",)
PREFIXES: Final = ("x-ai", "xai")
SOURCES: Final = "num_sources_used"
_TOOLS: Final = {
    "web_search_calls": "web_searches",
    "x_search_calls": "web_searches",
    "file_search_calls": "file_searches",
    "document_search_calls": "file_searches",
}


def tells_reasoning_beside(model: str | None, usage: Mapping[str, Any], details: Mapping[str, Any]) -> bool:
    """Return whether reasoning is to be added to the output."""
    reasoning = whole(details.get("reasoning_tokens")) if details else None
    if not reasoning:
        return False
    total = whole(usage.get("total_tokens"))
    given, made = whole(usage.get("prompt_tokens")) or 0, whole(usage.get("completion_tokens")) or 0
    if total is not None:
        return total == given + made + reasoning
    return reasoning > made or (model is not None and model.startswith(MODELS))


def tools_of(usage: Mapping[str, Any]) -> dict[str, Any] | None:
    """Count the uses of server-side tools, by kind; None if not reported."""
    counts = usage.get("server_side_tool_usage_details")
    return by_kind(counts, _TOOLS, "tool_calls") if isinstance(counts, dict) else None
