"""A range of time as few buckets of different lengths, some added, some taken away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime


@dataclass(frozen=True)
class TimeCover:
    """Buckets of one length, from the first moment, before the last (unix seconds); the sign -1 takes them away."""

    first_s: int
    last_s: int
    length_s: int
    sign: int = 1

    @property
    def first(self) -> datetime:
        """The first moment."""
        return datetime.fromtimestamp(self.first_s, UTC)

    @property
    def last(self) -> datetime:
        """The first moment after it."""
        return datetime.fromtimestamp(self.last_s, UTC)


def cut(start: datetime, end: datetime, lengths_s: Sequence[int]) -> list[TimeCover]:
    """Cut a range into buckets of these lengths, longest first, so that few of them add up to it.

    The range must be whole buckets of the last length. The long ones lie between the boundaries next to its ends; what
    they miss is added in shorter ones, what they have too much is taken away: sums are whole numbers, that is exact.
    """
    return _cut(int(start.timestamp()), int(end.timestamp()), lengths_s)


def _cut(start: int, end: int, lengths: Sequence[int]) -> list[TimeCover]:
    length, *shorter = lengths
    if start == end:
        return []
    if not shorter:
        return [TimeCover(start, end, length)]
    first, last = _nearest(start, length), _nearest(end, length)
    if last - first <= length:  # one at most: without it, it may be fewer
        without = _cut(start, end, shorter)
        if first >= last:
            return without
        return min(without, _around(start, end, first, last, lengths), key=_count)
    return _around(start, end, first, last, lengths)


def _around(start: int, end: int, first: int, last: int, lengths: Sequence[int]) -> list[TimeCover]:
    length, *shorter = lengths
    return [TimeCover(first, last, length), *_between(start, first, shorter), *_between(last, end, shorter)]


def _between(start: int, end: int, lengths: Sequence[int]) -> list[TimeCover]:
    """Cover the way from one moment to another; backwards it is taken away."""
    if start <= end:
        return _cut(start, end, lengths)
    return [replace(time_cover, sign=-time_cover.sign) for time_cover in _cut(end, start, lengths)]


def _nearest(moment: int, length: int) -> int:
    return (moment + length // 2) // length * length


def _count(time_covers: Sequence[TimeCover]) -> int:
    return sum((time_cover.last_s - time_cover.first_s) // time_cover.length_s for time_cover in time_covers)
