"""Mistral: OpenAI's shape; transcriptions and audio prompts tell `prompt_audio_seconds`.

Audio is billed by the second; what the total has beyond the other two are its tokens.

https://docs.mistral.ai/api/endpoint/chat
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from keygauge.usage.counts import whole

PROVIDER: Final = "mistral_ai"
_AUDIO_SECONDS: Final = "prompt_audio_seconds"

# The names of its own API; elsewhere these models go by others ("mistralai/…", "mistral:7b").
MODELS: Final = (
    *("mistral-", "ministral-", "magistral-", "codestral-", "devstral-", "pixtral-", "voxtral-"),
    *("open-mistral-", "open-mixtral-"),
)


def seconds_of(usage: Mapping[str, Any]) -> Any:
    """Return the seconds of audio; None where there was none: null, 0, or `{}` beside a total that has no more."""
    told = usage.get(_AUDIO_SECONDS)
    if told == {}:
        parts = [whole(usage.get(name)) or 0 for name in ("prompt_tokens", "completion_tokens")]
        return None if sum(parts) == whole(usage.get("total_tokens")) else told
    return told or None
