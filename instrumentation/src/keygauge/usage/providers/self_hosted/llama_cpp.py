"""The llama.cpp server: its own `/completion`, and OpenAI's shape, with cached tokens in `timings`.

https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md
"""

from __future__ import annotations

from typing import Any

from keygauge.usage.found import Found, RawUsage, inside
from keygauge.usage.model_name import name_of


def read(document: dict[str, Any]) -> Found:
    """Read `tokens_evaluated` and `tokens_predicted`; newer servers report the counts so far in every chunk."""
    return Found(
        RawUsage(
            document.get("tokens_evaluated"),
            document.get("tokens_predicted"),
            cached_in(document),
        ),
        None,
        name_of(document.get("model")),
        "running" if document.get("stop") is False else "final",
    )


def cached_in(document: dict[str, Any]) -> Any:
    """Return the cached input tokens, which newer servers report."""
    return inside(document, "timings").get("cache_n")
