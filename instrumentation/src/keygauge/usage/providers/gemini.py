"""Gemini generateContent and streamGenerateContent (events, or one JSON array).

https://ai.google.dev/api/generate-content#UsageMetadata
"""

from __future__ import annotations

from typing import Any

from keygauge.usage.counts import Usage
from keygauge.usage.providers.found import Found, Stage
from keygauge.usage.providers.model import name_of

PROVIDER = "gcp.gemini"


def read(document: dict[str, Any]) -> Found | None:
    """Read `usageMetadata`: thoughts count beside the candidates, tool results beside the prompt, cached ones in it."""
    usage = document.get("usageMetadata")
    if not isinstance(usage, dict):
        return None
    thoughts = usage.get("thoughtsTokenCount")
    return Found(
        Usage(
            _sum(usage.get("promptTokenCount"), usage.get("toolUsePromptTokenCount")),
            _sum(usage.get("candidatesTokenCount"), thoughts),
            usage.get("cachedContentTokenCount"),
            None,
            thoughts,
        ),
        PROVIDER,
        name_of(document.get("modelVersion")),
        _stage(document),
    )


def read_list(documents: list[Any]) -> Found | None:
    """Read an array of answers, each of which tells the counts so far: the last that tells any counts."""
    for document in reversed(documents):
        if isinstance(document, dict) and (found := read(document)) is not None:
            return found
    return None


def _sum(count: Any, more: Any) -> Any:
    # What is no count must stay so, and be refused later.
    if count is None or more is None:
        return more if count is None else count
    if type(count) is not int or count < 0:
        return count
    return more if type(more) is not int or more < 0 else count + more


def _stage(document: dict[str, Any]) -> Stage:
    candidates = document.get("candidates")
    if not isinstance(candidates, list) or not candidates:
        return "running"
    for candidate in candidates:
        if not isinstance(candidate, dict) or not candidate.get("finishReason"):
            return "running"
    return "final"
