"""Events on disk between the answer and the ledger: a killed process loses none of them."""

from __future__ import annotations

import fcntl
import os
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock
from uuid import uuid4

from keygauge.spool.segment import Segment, segment_path, segments

_SEGMENT_BYTES = 8 * 1024 * 1024
_SEGMENTS = 16  # that a full spool has, at the least: what is acknowledged of one still takes its place on disk
_IDLE_BYTES = 256 * 1024  # a segment so large is not kept once all of it is in the ledger
_CLOSED = -1

# The spools that this process has open or adopts: a POSIX lock is the process's, so it would not keep a sister from
# taking them, and it is gone as soon as a sister has opened and closed the file.
_OPEN: set[str] = set()
os.register_at_fork(after_in_child=_OPEN.clear)


class Spool:
    """One process's events, in segment files; see `Ownership` for how others tell that it lives.

    `most_bytes` bounds what is not in the ledger yet; the files may hold one segment more.
    """

    def __init__(self, directory: Path, address: str, *, most_bytes: int, on_drop: Callable[[str], None]) -> None:
        self.id = uuid4().hex
        self.directory = directory
        self.next = 0  # the number that the next event gets; as many were written
        self._most_bytes = most_bytes
        self._segment_most = min(_SEGMENT_BYTES, max(1, most_bytes // _SEGMENTS))
        self._on_drop = on_drop
        self._lock = Lock()
        self._kept_bytes = 0  # of the segments before the current one
        self._bytes = 0  # of the current one
        self._acknowledged_bytes = 0  # of them, at the beginning of the oldest
        directory.mkdir(parents=True, exist_ok=True)
        self.ownership = Ownership.create(directory, self.id, address)
        self._first = 0  # of the current segment
        self._has_met_full_disk = False
        self._fd = self._open()

    def append(self, line: bytes) -> None:
        """Write one event, newline included, in one write; what cannot be written is dropped and counted."""
        with self._lock:
            if self._fd == _CLOSED:
                self._on_drop("closed")
            elif self._kept_bytes + self._bytes - self._acknowledged_bytes + len(line) > self._most_bytes:
                self._on_drop("spool_full")
            elif not self._write(line):
                self._has_met_full_disk = True
                self._on_drop("disk")
            else:
                self._bytes += len(line)
                self.next += 1
                if self._bytes >= self._segment_most:
                    self._rotate()

    def forget(self, finished: list[Segment], *, offset: int = 0) -> None:
        """Delete segments whose events are all in the ledger; of the next one, those before an offset are too."""
        for segment in finished:
            size_bytes = segment.path.stat().st_size
            segment.path.unlink()
            with self._lock:
                self._kept_bytes -= size_bytes
                self._acknowledged_bytes = 0
        with self._lock:
            self._acknowledged_bytes = offset

    def shrink(self, acknowledged: int) -> None:
        """Begin a new segment where the current one is large, or its disk full, and all of it is in the ledger."""
        with self._lock:
            is_large = self._bytes >= _IDLE_BYTES or self._has_met_full_disk
            if is_large and self._first < self.next == acknowledged:
                self._has_met_full_disk = False
                self._rotate()

    def close(self, *, empty: bool) -> None:
        """Let go of the spool; with `empty`, when everything is in the ledger, delete it."""
        with self._lock:
            os.close(self._fd)
            self._fd = _CLOSED
            if empty:
                self.ownership.delete_spool()
            self.ownership.release()

    def _write(self, line: bytes) -> bool:
        try:
            if os.write(self._fd, line) == len(line):
                return True
            os.ftruncate(self._fd, self._bytes)  # the disk took a part of it
        except OSError:
            pass
        return False

    def _open(self) -> int:
        path = segment_path(self.directory, self.id, self.next)
        return os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY | os.O_CLOEXEC, 0o600)

    def _rotate(self) -> None:
        try:
            fd = self._open()
        except OSError:
            return  # go on with the long one
        os.close(self._fd)
        self._fd = fd
        self._first = self.next
        self._kept_bytes += self._bytes
        self._bytes = 0


class Ownership:
    """A POSIX lock on a spool's lock file, held as long as its process lives and not inherited over a fork.

    Whoever can take the lock of a spool may adopt it, where it is of the same key service: its process is dead. The
    file tells that service's address; one that tells none is anyone's.
    """

    def __init__(self, directory: Path, spool_id: str, fd: int) -> None:
        self.directory = directory
        self.spool_id = spool_id
        self._fd = fd

    @classmethod
    def create(cls, directory: Path, spool_id: str, address: str) -> Ownership:
        """Make a new spool's lock file; it is locked and complete before others can see it under its name."""
        _OPEN.add(spool_id)
        new = directory / f"{spool_id}.new"
        fd = os.open(new, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.lockf(fd, fcntl.LOCK_EX)
        with suppress(OSError):  # a full disk: better a spool of anyone's than none
            os.write(fd, address.encode())
        new.rename(_lock_path(directory, spool_id))
        return cls(directory, spool_id, fd)

    @classmethod
    def take(cls, directory: Path, spool_id: str) -> Ownership | None:
        """Take over a dead process's spool; None when its process lives or another one took it."""
        if spool_id in _OPEN:
            return None
        try:
            fd = os.open(_lock_path(directory, spool_id), os.O_RDWR | os.O_CLOEXEC)
        except (FileNotFoundError, PermissionError):  # shipped by now, or another user's
            return None
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            return None
        _OPEN.add(spool_id)
        return cls(directory, spool_id, fd)

    def delete_spool(self) -> None:
        """Delete all files of the spool: everything in it is in the ledger."""
        for segment in segments(self.directory, self.spool_id):
            segment.path.unlink(missing_ok=True)
        _lock_path(self.directory, self.spool_id).unlink(missing_ok=True)

    def release(self) -> None:
        """Let go of the lock."""
        os.close(self._fd)
        _OPEN.discard(self.spool_id)


def others(directory: Path, address: str) -> list[str]:
    """List the ids of a key service's spools in the directory that are not this process's, living or dead."""
    return [spool_id for spool_id, told in _told(directory) if told in {"", address}]


def strangers(directory: Path, address: str) -> Counter[str]:
    """Count the spools of dead processes in the directory by the address of the key service, where it is another."""
    counts: Counter[str] = Counter()
    for spool_id, told in _told(directory):
        if told not in {"", address} and (ownership := Ownership.take(directory, spool_id)):
            ownership.release()
            counts[told] += 1
    return counts


def _told(directory: Path) -> list[tuple[str, str]]:
    """List the spools that are not this process's, each with the address that its lock file tells."""
    found = []
    for path in sorted(directory.glob("*.lock")):
        if path.stem not in _OPEN:
            with suppress(FileNotFoundError, PermissionError):  # shipped by now, or another user's
                found.append((path.stem, path.read_text("utf-8", "replace").strip()))
    return found


def _lock_path(directory: Path, spool_id: str) -> Path:
    return directory / f"{spool_id}.lock"
