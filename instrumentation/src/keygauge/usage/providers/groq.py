"""Groq: OpenAI's shape; the last chunk of a stream tells its usage in `x_groq`, unasked.

https://console.groq.com/docs/api-reference#chat-create
"""

from __future__ import annotations

from typing import Any, Final

from keygauge.usage.providers.found import inside

PROVIDER: Final = "groq"
MARK: Final = "x_groq"


def usage_of(document: dict[str, Any]) -> dict[str, Any] | None:
    """Return the usage in `x_groq`."""
    usage = inside(document, MARK).get("usage")
    return usage if isinstance(usage, dict) else None
