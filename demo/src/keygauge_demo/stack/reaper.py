"""A small process that stops the demo's other processes if the demo itself is killed.

It reads lines `<signal> <pid>` from the demo through a pipe. If the pipe ends without a line `done`, the demo has died:
then it stops the processes, the newest first. This needs nothing but pipes.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import suppress

GRACE_S = 6.0  # from the first signal until SIGKILL
_LOOK_S = 0.05


def main() -> None:
    """Watch until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the demo, which ends this process with `done`
    processes = read_processes(sys.stdin)
    if processes is not None:
        for number, pid in reversed(processes):
            end(pid, number)


def read_processes(lines: Iterable[str]) -> list[tuple[int, int]] | None:
    """Collect (signal, pid) until the end of the lines; None if the demo sent `done`."""
    processes = []
    for line in lines:
        if line.strip() == "done":
            return None
        number, pid = line.split()
        processes.append((int(number), int(pid)))
    return processes


def end(pid: int, number: int) -> None:
    """Ask a process to exit, and kill it if it does not."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)
        deadline = time.monotonic() + GRACE_S
        while time.monotonic() < deadline:
            time.sleep(_LOOK_S)
            os.kill(pid, 0)  # raises if the process has ended
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
