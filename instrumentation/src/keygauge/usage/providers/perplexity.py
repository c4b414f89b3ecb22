"""Perplexity: OpenAI's shape; reasoning and the searches that are billed each stand beside the counts of tokens.

https://docs.perplexity.ai/api-reference/chat-completions-post
"""

from __future__ import annotations

from typing import Final

PROVIDER: Final = "perplexity"
MODELS: Final = ("sonar",)
REASONING: Final = "reasoning_tokens"
SEARCHES: Final = "num_search_queries"
