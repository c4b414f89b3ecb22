"""Moonshot AI: OpenAI's shape with `cached_tokens` next to `prompt_tokens`, which includes them.

https://platform.moonshot.ai/docs/api/chat
"""

from __future__ import annotations

from typing import Final

PROVIDER: Final = "moonshot_ai"
MODELS: Final = ("kimi-", "moonshot-")
PREFIXES: Final = ("moonshotai",)
CACHE_READ: Final = "cached_tokens"
