"""The llama.cpp server's own `/completion`.

https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md
"""

from __future__ import annotations

from typing import Any

from keygauge.usage.providers.found import Found, Told, inside
from keygauge.usage.providers.model import name_of


def read(document: dict[str, Any]) -> Found:
    """Read `tokens_evaluated` and `tokens_predicted`; newer servers tell them in every chunk, as counts so far."""
    return Found(
        Told(
            document.get("tokens_evaluated"),
            document.get("tokens_predicted"),
            inside(document, "timings").get("cache_n"),  # newer servers
        ),
        None,
        name_of(document.get("model")),
        "running" if document.get("stop") is False else "final",
    )
