"""Z.ai (Zhipu): OpenAI's shape and Anthropic's.

https://docs.z.ai/api-reference/llm/chat-completion
"""

from __future__ import annotations

from typing import Final

PROVIDER: Final = "zai"
MODELS: Final = ("glm-", "cogview-", "cogvideox-")
PREFIXES: Final = ("z-ai", "zai")
