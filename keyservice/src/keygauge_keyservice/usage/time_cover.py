"""Covering a time range with few buckets of different lengths, some added and some subtracted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime


@dataclass(frozen=True)
class TimeCover:
    """Buckets of one length from `first_s` to before `last_s` (unix seconds); with sign -1 they are subtracted."""

    first_s: int
    last_s: int
    length_s: int
    sign: int = 1

    @property
    def first(self) -> datetime:
        """The start."""
        return datetime.fromtimestamp(self.first_s, UTC)

    @property
    def last(self) -> datetime:
        """The end (exclusive)."""
        return datetime.fromtimestamp(self.last_s, UTC)


def cut(start: datetime, end: datetime, lengths_s: Sequence[int]) -> list[TimeCover]:
    """Cover a range with few buckets of these lengths (longest first).

    The range must consist of whole buckets of the last length. Long buckets fill the space between the boundaries
    nearest to its ends; shorter buckets then add what is missing and subtract the excess. Sums are integers, so this is
    exact.
    """
    return _cut(int(start.timestamp()), int(end.timestamp()), lengths_s)


def _cut(start: int, end: int, lengths: Sequence[int]) -> list[TimeCover]:
    length, *shorter = lengths
    if start == end:
        return []
    if not shorter:
        return [TimeCover(start, end, length)]
    first, last = _nearest(start, length), _nearest(end, length)
    if last - first <= length:  # at most one long bucket: fewer may be needed without it
        without = _cut(start, end, shorter)
        if first >= last:
            return without
        return min(without, _around(start, end, first, last, lengths), key=_count)
    return _around(start, end, first, last, lengths)


def _around(start: int, end: int, first: int, last: int, lengths: Sequence[int]) -> list[TimeCover]:
    length, *shorter = lengths
    return [TimeCover(first, last, length), *_between(start, first, shorter), *_between(last, end, shorter)]


def _between(start: int, end: int, lengths: Sequence[int]) -> list[TimeCover]:
    """Cover the range between two times; if the end is before the start, subtract it."""
    if start <= end:
        return _cut(start, end, lengths)
    return [replace(time_cover, sign=-time_cover.sign) for time_cover in _cut(end, start, lengths)]


def _nearest(instant: int, length: int) -> int:
    return (instant + length // 2) // length * length


def _count(time_covers: Sequence[TimeCover]) -> int:
    return sum((time_cover.last_s - time_cover.first_s) // time_cover.length_s for time_cover in time_covers)
