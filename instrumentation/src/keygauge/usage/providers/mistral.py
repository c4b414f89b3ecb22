"""Mistral: OpenAI's shape; transcriptions and audio prompts tell `prompt_audio_seconds`.

https://docs.mistral.ai/api/endpoint/chat
"""

from __future__ import annotations

from typing import Final

PROVIDER: Final = "mistral_ai"
AUDIO_SECONDS: Final = "prompt_audio_seconds"

# The names of its own API; elsewhere these models go by others ("mistralai/…", "mistral:7b").
MODELS: Final = (
    *("mistral-", "ministral-", "magistral-", "codestral-", "devstral-", "pixtral-", "voxtral-"),
    *("open-mistral-", "open-mixtral-"),
)
