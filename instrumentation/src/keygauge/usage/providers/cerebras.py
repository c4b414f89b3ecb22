"""Cerebras: OpenAI's shape; an answer, or a stream's last chunk, has its timings in `time_info`.

https://inference-docs.cerebras.ai/api-reference/chat-completions
"""

from __future__ import annotations

from typing import Final

PROVIDER: Final = "cerebras"
PREFIXES: Final = ("cerebras",)
MARK: Final = "time_info"
