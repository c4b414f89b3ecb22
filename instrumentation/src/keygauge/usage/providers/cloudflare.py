"""Cloudflare Workers AI: OpenAI's usage in the `result` of an answer, or in the last event of a stream.

Answers do not name the model: the path does (`/ai/run/@cf/meta/llama-3.1-8b-instruct`).

https://developers.cloudflare.com/api/resources/ai/methods/run
"""

from __future__ import annotations

from typing import Any, Final, TypedDict

from msgspec import Raw
from msgspec.json import Decoder

from keygauge.usage.found import inside

PROVIDER: Final = "cloudflare"
MODELS: Final = ("@cf/", "@hf/")
PREFIXES: Final = ("cloudflare", "workers-ai")


class _Result(TypedDict, total=False):
    usage: Any


_decode = Decoder(_Result).decode


def usage_of(document: dict[str, Any]) -> dict[str, Any] | None:
    """Return the usage in `result`, of an answer that reports its `success`."""
    result = document.get("result") if "success" in document else None
    if isinstance(result, Raw):
        try:
            result = _decode(result)
        except ValueError:
            return None
    usage = inside(result, "usage")
    return dict(usage) or None
