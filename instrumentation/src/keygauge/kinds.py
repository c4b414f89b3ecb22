"""Kinds of use, and those beyond the five counts of every call: rarely there, each with a rate of its own."""

from __future__ import annotations

from typing import Final

PART_OF: Final[dict[str, str | None]] = {  # what a kind's tokens are counted in already; None: not in tokens at all
    "input_audio": "input",
    "input_image": "input",
    "input_video": "input",
    "cache_read_audio": "cache_read",
    "cache_read_image": "cache_read",
    "cache_write_1h": "cache_write",  # kept for an hour, not for five minutes
    "output_audio": "output",
    "output_image": "output",
    "output_video": "output",
    "web_searches": None,
    "file_searches": None,
    "tool_calls": None,  # of what else a provider's tools do: code, pages fetched, remote servers
    "search_units": None,  # Cohere's, of reranking
    "classifications": None,
    "citations": None,  # tokens of what was cited, beside the input
    "images": None,
    "seconds": None,  # of audio or video
    "characters": None,
    "pages": None,
}
"""`input_audio` and its like are of the input that no cache had to do with; what a cache gave is a kind of its own."""

CHARGED: Final = ("input", "output", "cache_read", "reasoning", "cache_write", "request", *PART_OF)
"""What a call's cost is made of. The ledger keeps costs by their place here: what is new comes last."""

BY_ONE: Final = frozenset(
    {"web_searches", "file_searches", "tool_calls", "search_units", "classifications", "images", "seconds", "pages"}
)
"""What people price by the piece; all else they price by the million."""
