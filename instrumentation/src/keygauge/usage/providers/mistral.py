"""Mistral: OpenAI's shape, told apart by what only Mistral says.

https://docs.mistral.ai/api/endpoint/chat
"""

from __future__ import annotations

from typing import Any

PROVIDER = "mistral_ai"

# The names of its own API; elsewhere these models go by others ("mistralai/…", "mistral:7b").
FAMILIES = (
    *("mistral-", "ministral-", "magistral-", "codestral-", "devstral-", "pixtral-", "voxtral-"),
    *("open-mistral-", "open-mixtral-"),
)


def is_shape(usage: dict[str, Any], model: str | None) -> bool:
    """Tell whether an OpenAI-shaped answer is Mistral's."""
    return "prompt_audio_seconds" in usage or (model is not None and model.startswith(FAMILIES))
