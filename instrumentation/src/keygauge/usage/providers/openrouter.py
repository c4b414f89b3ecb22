"""OpenRouter: OpenAI's shape; its usage says whether the call is billed to the user's own provider key (`is_byok`).

https://openrouter.ai/docs/use-cases/usage-accounting
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

PROVIDER: Final = "openrouter"
PREFIXES: Final = ("openrouter",)


def bills(usage: Mapping[str, Any]) -> bool:
    """Return whether a usage is OpenRouter's and billed by OpenRouter."""
    return usage.get("is_byok") is False
