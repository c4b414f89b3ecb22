"""Token usage in one normal form, read from the answers of any provider."""

from __future__ import annotations

from typing import NamedTuple


class Usage(NamedTuple):
    """Token counts of one call. None is "not told", never 0.

    `input_tokens` includes cached ones, `output_tokens` includes reasoning; the other three are subsets of those two.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None

    def __add__(self, other: Usage) -> Usage:  # type: ignore[override]  # a sum of counts, not of tuples
        """Add count by count; unknown plus a number is that number."""
        return Usage(*(a if b is None else b if a is None else a + b for a, b in zip(self, other, strict=True)))
