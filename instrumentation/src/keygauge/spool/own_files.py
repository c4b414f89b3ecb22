"""The spool's directory and the files in it that are this user's: what anybody else put there is passed over."""

from __future__ import annotations

import os
import stat
from pathlib import Path

_SUFFIXES = frozenset({".ndjson", ".lock", ".kept", ".new"})
_OTHERS = 0o077  # what a mode lets others than the owner do


def make(directory: Path) -> None:
    """Make the directory for this user alone; close one that is there, where it is ours and has only spools."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = directory.stat()
    is_open = status.st_uid == os.geteuid() and status.st_mode & _OTHERS
    if is_open and all(path.suffix in _SUFFIXES for path in directory.iterdir()):
        directory.chmod(0o700)


def find(directory: Path, pattern: str) -> list[Path]:
    """List the regular files of this user that have one name: no link, no pipe, nothing of another user."""
    return [path for path in directory.glob(pattern) if _is_own(path)]


def _is_own(path: Path) -> bool:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and status.st_nlink == 1
