"""A range of time as whole UTC days and the quarters of an hour at its edges."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from keygauge_keyservice.margin import DAY_S
from keygauge_keyservice.rollup import BUCKET_S

_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Stretch:
    """Buckets of one length, from the first, before the last; with the sign -1 they are taken away."""

    first: datetime
    last: datetime
    length_s: int
    sign: int = 1


def cut(start: datetime, end: datetime) -> list[Stretch]:
    """Cut a range of whole quarters of an hour so that few buckets add up to it.

    The days are those between the midnights next to the ends; what they miss is added, what they have too much is
    taken away. Sums are whole numbers, so that is exact.
    """
    first, last = _nearest_midnight(start), _nearest_midnight(end)
    edges = abs(first - start) + abs(last - end)
    if first >= last or (end - start) <= edges + (last - first) * (BUCKET_S / DAY_S):
        return [Stretch(start, end, BUCKET_S)]
    whole = [Stretch(first, last, DAY_S)]
    return whole + _quarters(start, first) + _quarters(last, end)


def _quarters(start: datetime, end: datetime) -> list[Stretch]:
    """Cover the way from one moment to another; backwards it is taken away."""
    if start == end:
        return []
    return [Stretch(start, end, BUCKET_S)] if start < end else [Stretch(end, start, BUCKET_S, -1)]


def _nearest_midnight(moment: datetime) -> datetime:
    return (moment.astimezone(UTC) + _DAY / 2).replace(hour=0, minute=0, second=0, microsecond=0)
