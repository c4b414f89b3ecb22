"""DeepSeek: OpenAI's shape; `prompt_tokens` is the sum of cache hits and misses.

https://api-docs.deepseek.com/api/create-chat-completion
"""

from __future__ import annotations

from typing import Final

PROVIDER: Final = "deepseek"
MODELS: Final = ("deepseek-",)
PREFIXES: Final = ("deepseek",)
CACHE_READ: Final = "prompt_cache_hit_tokens"
