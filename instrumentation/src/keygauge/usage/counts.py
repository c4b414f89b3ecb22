"""The normal form of token counts, and what makes a set of them fit to be counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

MAX_TOKENS = 10**9  # of one call; the ledger takes no more


class Usage(NamedTuple):
    """Token counts of one call. None is "not told", never 0.

    `input_tokens` includes cached ones, `output_tokens` includes reasoning; the next three are subsets of those two.
    `details` counts those of `keygauge.kinds` that there are, None where there are none.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    details: Mapping[str, int] | None = None

    def __add__(self, other: Usage) -> Usage:  # type: ignore[override]  # a sum of counts, not of tuples
        """Add count by count; unknown plus a number is that number."""
        counts, details = self[:5], self.details
        more, more_details = other[:5], other.details
        added = (a if b is None else b if a is None else a + b for a, b in zip(counts, more, strict=True))
        return Usage._make([*added, _add(details, more_details)])

    def clipped(self) -> Usage:
        """Return the same, no count above the most that the ledger takes of one call."""
        counts, details = self[:5], self.details
        kept = details and {kind: min(count, MAX_TOKENS) for kind, count in details.items()}
        return Usage._make([*(None if count is None else min(count, MAX_TOKENS) for count in counts), kept])


def _add(details: Mapping[str, int] | None, more: Mapping[str, int] | None) -> Mapping[str, int] | None:
    if not details or not more:
        return details or more
    return {kind: details.get(kind, 0) + more.get(kind, 0) for kind in {**details, **more}}


UNTOLD = Usage()


def are_counts(usage: Usage) -> bool:
    """Tell whether each field is a whole number of tokens or None: a provider's JSON may hold anything there."""
    for count in usage[:5]:
        if count is not None and (type(count) is not int or not 0 <= count <= MAX_TOKENS):
            return False
    return True


def fit_together(usage: Usage) -> bool:
    """Tell whether no subset is larger than its whole: else the price of the rest would be negative."""
    input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, _ = usage
    if input_tokens is not None and (
        input_tokens > MAX_TOKENS
        or (cache_read_tokens is not None and cache_read_tokens > input_tokens)
        or (cache_write_tokens is not None and cache_write_tokens > input_tokens)
    ):
        return False
    return output_tokens is None or (reasoning_tokens or 0) <= output_tokens <= MAX_TOKENS


def override(earlier: Usage, later: Usage) -> Usage:
    """Take each count from the later telling, where it has one."""
    return Usage._make([a if b is None else b for a, b in zip(earlier, later, strict=True)])
