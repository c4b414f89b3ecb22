"""How many units one replica gets at once, so that the others do not starve."""

from __future__ import annotations


def clamp(want: int, *, remaining: int, replicas: int, waiting: int = 1) -> int:
    """Return at most `want` and `remaining`; where replicas share, at most half of one's part, but what calls wait for.

    The halves shrink with what is left, so near the end each replica gets single units, and the last one is spendable.
    """
    if replicas > 1:
        want = min(want, max(1, waiting, remaining // (2 * replicas)))
    return max(0, min(want, remaining))
