"""Perplexity: OpenAI's shape; reasoning, citations and searches are billed in addition to the token counts.

An asynchronous job has the answer in `response` once it is `COMPLETED`; each read shows it again.

https://docs.perplexity.ai/getting-started/pricing and
https://docs.perplexity.ai/api-reference/async-sonar-api-request-get
"""

from __future__ import annotations

from typing import Final

PROVIDER: Final = "perplexity"
MODELS: Final = ("sonar",)
PREFIXES: Final = ("perplexity",)
REASONING: Final = "reasoning_tokens"  # SGLang reports them there too, but as part of the completion
CITATIONS: Final = "citation_tokens"
COMPLETED: Final = "COMPLETED"  # a job's status
SEARCHES: Final = "num_search_queries"


def tells_reasoning_beside(model: str | None) -> bool:
    """Return whether reasoning is to be added to the output: deep research bills it at its own rate."""
    return model is not None and model.rpartition("/")[2].startswith(MODELS)
