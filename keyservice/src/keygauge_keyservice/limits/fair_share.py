"""The number of units that one replica gets at once, so that others do not starve."""

from __future__ import annotations


def clamp(want: int, *, remaining: int, replicas: int, waiting: int = 1) -> int:
    """Return how many units to grant, at most `want` and `remaining`.

    If several replicas share the limit, at most half of one replica's part, or what calls wait for if that is more.
    The halves shrink with what is left, so near the end each replica gets single units, and the last unit can be spent.
    """
    if replicas > 1:
        want = min(want, max(1, waiting, remaining // (2 * replicas)))
    return max(0, min(want, remaining))
