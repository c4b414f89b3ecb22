"""Azure OpenAI: OpenAI's shape; an answer, or a stream's first chunk, has `prompt_filter_results`.

https://learn.microsoft.com/azure/ai-services/openai/reference
"""

from __future__ import annotations

from typing import Final

PROVIDER: Final = "azure.ai.openai"
PREFIXES: Final = ("azure",)
MARK: Final = "prompt_filter_results"
