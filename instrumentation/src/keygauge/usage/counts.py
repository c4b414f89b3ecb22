"""The normal form of token counts, and what makes a set of them fit to be counted."""

from __future__ import annotations

from typing import NamedTuple

MAX_TOKENS = 10**9  # of one call; the ledger takes no more


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


UNTOLD = Usage()


def are_counts(usage: Usage) -> bool:
    """Tell whether each field is a whole number of tokens or None: a provider's JSON may hold anything there."""
    for count in usage:  # noqa: SIM110 - a generator would double the time
        if count is not None and (type(count) is not int or not 0 <= count <= MAX_TOKENS):
            return False
    return True


def fit_together(usage: Usage) -> bool:
    """Tell whether no subset is larger than its whole: else the price of the rest would be negative."""
    input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens = usage
    if input_tokens is not None and (
        input_tokens > MAX_TOKENS
        or (cache_read_tokens is not None and cache_read_tokens > input_tokens)
        or (cache_write_tokens is not None and cache_write_tokens > input_tokens)
    ):
        return False
    return output_tokens is None or (reasoning_tokens or 0) <= output_tokens <= MAX_TOKENS


def override(earlier: Usage, later: Usage) -> Usage:
    """Take each count from the later telling, where it has one."""
    return Usage(*(a if b is None else b for a, b in zip(earlier, later, strict=True)))
