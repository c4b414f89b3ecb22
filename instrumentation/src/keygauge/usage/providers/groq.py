"""Groq: OpenAI's shape; the last chunk of a stream always has its usage in `x_groq`.

Compound systems call several models: `usage_breakdown` has the usage of each call, which is billed at that model's
price; `usage` is their sum.

https://console.groq.com/docs/api-reference#chat-create and https://console.groq.com/docs/compound
"""

from __future__ import annotations

from typing import Any, Final

from keygauge.usage.found import inside
from keygauge.usage.model_name import name_of

PROVIDER: Final = "groq"
PREFIXES: Final = ("groq",)
MARK: Final = "x_groq"
_BREAKDOWN: Final = "usage_breakdown"


def usage_of(document: dict[str, Any]) -> dict[str, Any] | None:
    """Return the usage in `x_groq`."""
    usage = inside(document, MARK).get("usage")
    return usage if isinstance(usage, dict) else None


def calls_in(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return the models that a compound system called, and the usage of each call."""
    if MARK not in document and _BREAKDOWN not in document:
        return []
    models = (inside(document, _BREAKDOWN) or inside(inside(document, MARK), _BREAKDOWN)).get("models")
    calls = [(name_of(one.get("model")), inside(one, "usage")) for one in models or () if isinstance(one, dict)]
    return [(model, dict(usage)) for model, usage in calls if model and usage]
