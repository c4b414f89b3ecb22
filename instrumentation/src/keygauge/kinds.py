"""Kinds of usage, including those beyond the five token counts of every call, which are rare and priced separately."""

from __future__ import annotations

from typing import Final

PART_OF: Final[dict[str, str | None]] = {  # the kind that includes a kind's tokens; None: no token count does
    "input_audio": "input",
    "input_image": "input",
    "input_video": "input",
    "cache_read_audio": "cache_read",
    "cache_read_image": "cache_read",
    "cache_write_1h": "cache_write",  # cached for an hour instead of five minutes
    "output_audio": "output",
    "output_image": "output",
    "output_video": "output",
    "web_searches": None,
    "file_searches": None,
    "tool_calls": None,  # of a provider's other tools: code execution, page fetches, remote servers
    "search_units": None,  # Cohere's unit of reranking
    "classifications": None,
    "citations": None,  # tokens of cited text, not included in the input
    "images": None,
    "seconds": None,  # of audio or video
    "characters": None,
    "pages": None,
}
"""`input_audio` and similar kinds cover uncached input; cached input has kinds of its own."""

CHARGED: Final = ("input", "output", "cache_read", "reasoning", "cache_write", "request", *PART_OF)
"""The parts of a call's cost. The ledger stores costs by position in this tuple, so append new ones at the end."""

BY_ONE: Final = frozenset(
    {"web_searches", "file_searches", "tool_calls", "search_units", "classifications", "images", "seconds", "pages"}
)
"""Kinds usually priced per unit; all others are priced per million."""
