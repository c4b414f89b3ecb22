"""Ollama's own API: counts in the last line of a stream, or in the single answer. Errors are a line with `error`.

https://github.com/ollama/ollama/blob/main/docs/api.md
"""

from __future__ import annotations

from typing import Any

from keygauge.usage.found import Found, RawUsage
from keygauge.usage.model_name import name_of

PROVIDER = "ollama"  # the semantic conventions define no value for it
_CACHED = "prompt_eval_cached_count"  # part of `prompt_eval_count`, in newer versions


def read(document: dict[str, Any]) -> Found:
    """Read `prompt_eval_count`, absent when the whole prompt was cached, and `eval_count`, absent for embeddings."""
    return Found(
        RawUsage(document.get("prompt_eval_count"), document.get("eval_count"), document.get(_CACHED)),
        PROVIDER,
        name_of(document.get("model")),
        "running" if document.get("done") is False else "final",
    )
