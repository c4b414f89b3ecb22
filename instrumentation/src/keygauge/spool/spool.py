"""Events on disk until they are in the ledger, so that a killed process loses none."""

from __future__ import annotations

import fcntl
import logging
import os
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock
from time import monotonic, time
from uuid import uuid4

from keygauge.spool import own_files
from keygauge.spool.segment import Segment, SpoolReader, segment_path, segments

_log = logging.getLogger(__name__)

_SEGMENT_BYTES = 8 * 1024 * 1024
_SEGMENTS = 16  # minimum of a full spool: disk space is only freed by whole segments
_IDLE_BYTES = 256 * 1024  # from this size on, a segment is closed once all of it is in the ledger
_CLOSED = -1
_ADDRESS_BYTES = 4096  # longer than any address in a lock file

# The spools that this process has open or is adopting. POSIX locks belong to the process: they do not keep another
# runtime of the same process out, and are released as soon as it opens and closes the lock file.
_OPEN: set[str] = set()
os.register_at_fork(after_in_child=_OPEN.clear)


class Spool:
    """One process's events, in segment files; `Ownership` shows other processes that it is alive.

    `most_bytes` bounds the events not yet in the ledger; the files may hold one segment more. Shipped events are kept
    for `keep_s`, in at most half of `most_bytes` and only while new events leave room: a ledger that is restored to an
    earlier time requests them again.
    """

    def __init__(
        self,
        directory: Path,
        address: str,
        *,
        most_bytes: int,
        on_drop: Callable[[str], None],
        keep_s: float = 0.0,
    ) -> None:
        self.id = uuid4().hex
        self.directory = directory
        self.next = 0  # the next event's number, which is how many were written
        self._most_bytes = most_bytes
        self._segment_most = min(_SEGMENT_BYTES, max(1, most_bytes // _SEGMENTS))
        self._on_drop = on_drop
        self._lock = Lock()
        self._waiting_bytes = 0  # of earlier segments that are not completely in the ledger
        self._bytes = 0  # of the current segment
        self._acknowledged_bytes = 0  # at the beginning of the oldest of these segments
        self._free_until = 0  # size up to which the current segment may grow without a check
        self._kept = Kept(keep_s=keep_s, most_bytes=most_bytes // 2)
        own_files.make(directory)
        self.ownership = Ownership.create(directory, self.id, address)
        self._first = 0  # of the current segment
        self._has_met_full_disk = False
        self._was_deleted = False
        self._fd = self._open()

    def append(self, line: bytes) -> None:
        """Write one event, newline included, in one write; an event that cannot be written is dropped and counted."""
        with self._lock:
            end = self._bytes + len(line)
            if end > self._free_until and (reason := self._refuse(end)):
                self._on_drop(reason)
                return
            try:
                is_whole = os.write(self._fd, line) == len(line)
            except OSError:
                is_whole = False
            if not is_whole:
                self._take_back()
                return
            self._bytes = end
            self.next += 1
            if end >= self._segment_most:
                self._rotate()

    def forget(self, finished: list[Segment], *, offset: int = 0) -> None:
        """Keep or delete segments that are completely in the ledger, as is the next one up to byte `offset`."""
        with self._lock:
            # Kept segments are no longer finished if the ledger was restored to an earlier time.
            for size_bytes in self._kept.recall({segment.path for segment in finished}):
                self._waiting_bytes += size_bytes
            for segment in finished:
                self._waiting_bytes -= self._kept.add(segment.path)
            self._acknowledged_bytes = offset
            self._kept.trim()
            self._free_until = 0

    def shrink(self, acknowledged: int) -> None:
        """Start a new segment if the current one is large, or its disk was full, and all of it is in the ledger."""
        with self._lock:
            is_large = self._bytes >= _IDLE_BYTES or self._has_met_full_disk
            if is_large and self._first < self.next == acknowledged:
                self._has_met_full_disk = False
                self._rotate()

    def restore(self) -> None:
        """Recreate deleted files: the directory, the lock, and the current segment with all events written to it."""
        with self._lock:
            if self._fd == _CLOSED or os.fstat(self._fd).st_nlink:
                return
            if not self._was_deleted:
                self._was_deleted = True
                _log.warning("The spool's files in %s were deleted; recreating the last one", self.directory)
            with suppress(OSError):  # the shipper tries again in its next round
                self._recreate()

    def _recreate(self) -> None:
        own_files.make(self.directory)
        self.ownership = self.ownership.renew()
        lines = os.pread(self._fd, self._bytes, 0)
        fd = self._open(self._first)
        if os.write(fd, lines) < len(lines):  # a full disk
            os.close(fd)
            return
        os.close(self._fd)
        self._fd = fd
        self._waiting_bytes = 0

    def close(self, *, empty: bool, epoch: str | None = None) -> None:
        """Close and release the spool; if `empty` (everything is in the ledger of `epoch`), keep or delete it."""
        with self._lock:
            os.close(self._fd)
            self._fd = _CLOSED
            self._free_until = 0
            if empty and self._kept.keep_s and epoch is not None and self.next:
                self.ownership.keep(epoch)
            elif empty:
                self.ownership.delete_spool()
            self.ownership.release()

    def _refuse(self, end: int) -> str | None:
        """Return why the current segment may not grow to `end` bytes, if so; delete kept segments to make room."""
        if self._fd == _CLOSED:
            return "closed"
        waiting_bytes = self._waiting_bytes + end - self._acknowledged_bytes
        if waiting_bytes + self._kept.size_bytes > self._most_bytes:
            self._kept.trim(self._most_bytes - waiting_bytes)
        if waiting_bytes > self._most_bytes:
            return "spool_full"
        self._free_until = end + self._most_bytes - waiting_bytes - self._kept.size_bytes
        return None

    def _take_back(self) -> None:
        """Drop an event that was written partly or not at all."""
        with suppress(OSError):
            os.ftruncate(self._fd, self._bytes)
        self._has_met_full_disk = True
        self._on_drop("disk")

    def _open(self, first: int | None = None) -> int:
        path = segment_path(self.directory, self.id, self.next if first is None else first)
        return os.open(path, os.O_CREAT | os.O_APPEND | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)

    def _rotate(self) -> None:
        try:
            fd = self._open()
        except OSError:
            return  # continue with the long one
        os.close(self._fd)
        self._fd = fd
        self._first = self.next
        self._waiting_bytes += self._bytes
        self._bytes = self._free_until = 0


class Kept:
    """Segments that are in the ledger, oldest first, by path: their size in bytes and since when they are kept."""

    def __init__(self, *, keep_s: float, most_bytes: int) -> None:
        self.keep_s = keep_s
        self.size_bytes = 0
        self._most_bytes = most_bytes
        self._segments: dict[Path, tuple[int, float]] = {}

    def add(self, path: Path) -> int:
        """Keep a segment; return its size in bytes, or 0 if it is kept already."""
        if path in self._segments:
            return 0
        size_bytes = path.stat().st_size
        self._segments[path] = (size_bytes, monotonic())
        self.size_bytes += size_bytes
        return size_bytes

    def recall(self, finished: set[Path]) -> list[int]:
        """Remove the segments that are no longer finished, without deleting them, and return their sizes."""
        return [self._remove(path) for path in list(self._segments) if path not in finished]

    def trim(self, most_bytes: int | None = None) -> None:
        """Delete expired segments, then the oldest until the rest fits."""
        most_bytes = self._most_bytes if most_bytes is None else min(most_bytes, self._most_bytes)
        too_old = monotonic() - self.keep_s
        for path, (_, since) in list(self._segments.items()):
            if since > too_old and self.size_bytes <= most_bytes:
                return
            self._remove(path)
            path.unlink(missing_ok=True)

    def _remove(self, path: Path) -> int:
        size_bytes, _ = self._segments.pop(path)
        self.size_bytes -= size_bytes
        return size_bytes


class Ownership:
    """A POSIX lock on a spool's lock file, held while its process lives and not inherited across a fork.

    A process that can take a spool's lock may adopt the spool, as its owner is dead, if both use the same key service.
    The file contains that service's address; a spool without an address may be adopted by any process.
    """

    def __init__(self, directory: Path, spool_id: str, fd: int) -> None:
        self.directory = directory
        self.spool_id = spool_id
        self._fd = fd

    @classmethod
    def create(cls, directory: Path, spool_id: str, address: str) -> Ownership:
        """Create a new spool's lock file; it is locked and complete before it appears under its final name."""
        _OPEN.add(spool_id)
        new = directory / f"{spool_id}.new"
        fd = os.open(new, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        fcntl.lockf(fd, fcntl.LOCK_EX)
        with suppress(OSError):  # full disk: a spool without an address is better than none
            os.write(fd, address.encode())
        new.rename(_lock_path(directory, spool_id))
        return cls(directory, spool_id, fd)

    @classmethod
    def take(cls, directory: Path, spool_id: str) -> Ownership | None:
        """Take over a dead process's spool; None if its process is alive or another one took it."""
        if spool_id in _OPEN:
            return None
        path = _lock_path(directory, spool_id)
        if not own_files.find(directory, path.name):
            return None
        try:
            fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except (FileNotFoundError, PermissionError):  # already shipped, or another user's
            return None
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            return None
        _OPEN.add(spool_id)
        return cls(directory, spool_id, fd)

    def renew(self) -> Ownership:
        """Recreate a deleted lock file."""
        address = os.pread(self._fd, _ADDRESS_BYTES, 0).decode("utf-8", "replace").partition("\n")[0]
        made = self.create(self.directory, self.spool_id, address)
        os.close(self._fd)
        return made

    def keep(self, epoch: str) -> None:
        """Keep the spool for other epochs; everything in it is in the ledger of `epoch`."""
        path = _lock_path(self.directory, self.spool_id)
        address = _address(path)
        os.pwrite(self._fd, f"{address}\n{epoch}\n".encode(), 0)
        path.replace(_kept_path(self.directory, self.spool_id))

    def delete_spool(self) -> None:
        """Delete all files of the spool, once everything is in the ledger."""
        for segment in segments(self.directory, self.spool_id):
            segment.path.unlink(missing_ok=True)
        _lock_path(self.directory, self.spool_id).unlink(missing_ok=True)

    def release(self) -> None:
        """Release the lock."""
        os.close(self._fd)
        _OPEN.discard(self.spool_id)


def others(directory: Path, address: str) -> list[str]:
    """Return the ids of other processes' spools for a key service in the directory, whether alive or dead."""
    return [spool_id for spool_id, target in _targets(directory) if target in {"", address}]


def foreign_spools(directory: Path, address: str) -> Counter[str]:
    """Count the dead processes' spools in the directory for other key services, by their address."""
    counts: Counter[str] = Counter()
    for spool_id, target in _targets(directory):
        if target not in {"", address} and (ownership := Ownership.take(directory, spool_id)):
            ownership.release()
            counts[target] += 1
    return counts


def _targets(directory: Path) -> list[tuple[str, str]]:
    """Return other processes' spools, each with the address in its lock file."""
    found = []
    for path in sorted(own_files.find(directory, "*.lock")):
        if path.stem not in _OPEN:
            with suppress(FileNotFoundError, PermissionError):  # already shipped, or another user's
                found.append((path.stem, _address(path)))
    return found


def clear_kept(directory: Path, address: str, *, epoch: str | None, keep_s: float, most_bytes: int) -> None:
    """Delete kept spools that are too old or exceed `most_bytes`; free those of other epochs for adoption."""
    newest = sorted(((path.stat().st_mtime, path) for path in own_files.find(directory, "*.kept")), reverse=True)
    size_bytes = 0
    for kept_at, path in newest:
        size_bytes += sum(segment.path.stat().st_size for segment in segments(directory, path.stem))
        target, _, kept_epoch = path.read_text("utf-8", "replace").strip().partition("\n")
        if kept_at < time() - keep_s or size_bytes > most_bytes:
            for segment in segments(directory, path.stem):
                segment.path.unlink(missing_ok=True)
            path.unlink(missing_ok=True)
        elif target in {"", address} and epoch not in {None, kept_epoch}:
            path.replace(_lock_path(directory, path.stem))


def kept_since(directory: Path) -> dict[str, int]:
    """Return the time of each spool's first event, in microseconds since 1970 UTC, for spools that have events."""
    ids = {path.name.partition(".")[0] for path in own_files.find(directory, "*.ndjson")}
    times = {spool_id: SpoolReader(directory, spool_id).oldest_time_us() for spool_id in ids}
    return {spool_id: time_us for spool_id, time_us in times.items() if time_us is not None}


def _address(path: Path) -> str:
    return path.read_text("utf-8", "replace").partition("\n")[0].strip()


def _kept_path(directory: Path, spool_id: str) -> Path:
    return directory / f"{spool_id}.kept"


def _lock_path(directory: Path, spool_id: str) -> Path:
    return directory / f"{spool_id}.lock"
