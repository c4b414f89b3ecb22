"""The segment files of a spool: one event per line, named by the number of the first event."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from keygauge.spool import own_files

_READ_BYTES = 1024 * 1024
BATCH_LINES = 2000  # at most


class Segment(NamedTuple):
    """One segment file; `first` is the number of its first event."""

    path: Path
    first: int


class Batch(NamedTuple):
    """Complete lines, ready to send; `first` is the number of the first event."""

    first: int
    lines: list[bytes]


def segments(directory: Path, spool_id: str) -> list[Segment]:
    """Return a spool's segments, oldest first."""
    paths = own_files.find(directory, f"{spool_id}.*.ndjson")
    return sorted((Segment(path, int(path.suffixes[-2][1:])) for path in paths), key=lambda segment: segment.first)


def segment_path(directory: Path, spool_id: str, first: int) -> Path:
    """Return the path of a segment."""
    return directory / f"{spool_id}.{first:016d}.ndjson"


def _has_event(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.readline().endswith(b"\n")
    except FileNotFoundError:
        return False


class SpoolReader:
    """A reader of a spool's unacknowledged events, in order; for one thread."""

    def __init__(self, directory: Path, spool_id: str) -> None:
        self.spool_id = spool_id
        self._directory = directory
        self._segment: Segment | None = None
        self.offset = 0  # of the first unacknowledged line in the segment
        self.next = 0  # number of that line's event
        self._acknowledged = 0

    def batch(self) -> Batch | None:
        """Return the next lines, or None if all written events are acknowledged."""
        while True:
            if self._segment is None and not self._open_next():
                return None
            lines = self._read()
            skip = max(0, self._acknowledged - self.next)
            if not lines:
                if not self._has_later():
                    return None
                self._segment = None
            elif skip:
                self._advance(lines[:skip])
            else:
                return Batch(self.next, lines)

    def acknowledge(self, up_to: int, batch: Batch) -> None:
        """Record that the ledger has exactly the events before number `up_to`, which may be outside the batch."""
        self._acknowledged = up_to
        if up_to < batch.first:
            self._go_back(up_to)
        else:
            self._advance(batch.lines[: up_to - batch.first])

    def look_back(self) -> None:
        """Go to the start of the last segment with events: the ledger's answer shows whether it misses earlier ones."""
        for segment in reversed(segments(self._directory, self.spool_id)):
            if _has_event(segment.path):
                self._acknowledged = min(self._acknowledged, segment.first)
                self._go_back(segment.first)
                return

    def oldest(self) -> int:
        """Return the number of the first event still on disk."""
        return min((segment.first for segment in segments(self._directory, self.spool_id)), default=self.next)

    def oldest_time_us(self) -> int | None:
        """Return the time of the first unacknowledged event; thread-safe."""
        segment, offset = self._segment, self.offset
        if segment is None:
            segment, offset = next(iter(segments(self._directory, self.spool_id)), None), 0
        if segment is None:
            return None
        try:
            with segment.path.open("rb") as file:
                start = os.pread(file.fileno(), 32, offset)
        except FileNotFoundError:  # just shipped and deleted
            return None
        time, comma, _ = start[1:].partition(b",")
        return int(time) if comma and time.isdigit() else None

    def finished(self) -> list[Segment]:
        """Return the segments before the one being read, which are no longer needed."""
        return [segment for segment in segments(self._directory, self.spool_id) if segment.first < self._reading_from]

    @property
    def _reading_from(self) -> int:
        return self._segment.first if self._segment else 0

    def _go_back(self, number: int) -> None:
        """Continue at the start of the segment that holds an event; `batch` skips its acknowledged events."""
        before = [segment for segment in segments(self._directory, self.spool_id) if segment.first <= number]
        self._segment, self.next = None, before[-1].first if before else 0

    def _open_next(self) -> bool:
        """Open the segment that starts at `next`, or the first later one if segments were deleted."""
        later = [segment for segment in segments(self._directory, self.spool_id) if segment.first >= self.next]
        if not later:
            return False
        self._segment, self.offset, self.next = later[0], 0, later[0].first
        return True

    def _has_later(self) -> bool:
        return any(
            segment.first >= self.next and segment.first > self._reading_from
            for segment in segments(self._directory, self.spool_id)
        )

    def _read(self) -> list[bytes]:
        assert self._segment is not None  # noqa: S101 - for the type checker; `batch` opened it
        try:
            with self._segment.path.open("rb") as file:
                data = os.pread(file.fileno(), _READ_BYTES, self.offset)
        except FileNotFoundError:  # deleted to make room for new events
            return []
        whole = data[: data.rfind(b"\n") + 1]  # an incomplete last line is not an event
        return whole.splitlines(keepends=True)[:BATCH_LINES]

    def _advance(self, lines: list[bytes]) -> None:
        self.offset += sum(map(len, lines))
        self.next += len(lines)
