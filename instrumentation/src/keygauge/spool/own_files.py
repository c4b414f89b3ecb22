"""The spool's directory and this user's files in it; files of other users are ignored."""

from __future__ import annotations

import os
import stat
from pathlib import Path

_SUFFIXES = frozenset({".ndjson", ".lock", ".kept", ".new"})
_OTHERS = 0o077  # mode bits of group and others


def make(directory: Path) -> None:
    """Create the directory for this user only; restrict an existing one if the user owns it and it has only spools."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = directory.stat()
    is_open = status.st_uid == os.geteuid() and status.st_mode & _OTHERS
    if is_open and all(path.suffix in _SUFFIXES for path in directory.iterdir()):
        directory.chmod(0o700)


def find(directory: Path, pattern: str) -> list[Path]:
    """Return this user's regular files that match a pattern, without links (hard or symbolic) and pipes."""
    return [path for path in directory.glob(pattern) if _is_own(path)]


def _is_own(path: Path) -> bool:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and status.st_nlink == 1
