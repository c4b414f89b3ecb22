"""A small process that ends the demo's others when the demo itself is killed and cannot do it.

It reads lines `<signal> <pid>` from the demo through a pipe. The pipe's end without a line `done` means that the
demo is dead: then it ends the processes, the newest first. This works wherever there are pipes.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import suppress

GRACE_S = 6.0  # from the request to end until SIGKILL
_LOOK_S = 0.05


def main() -> None:
    """Watch until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the demo, which ends this process by `done`
    processes = read_processes(sys.stdin)
    if processes is not None:
        for number, pid in reversed(processes):
            end(pid, number)


def read_processes(lines: Iterable[str]) -> list[tuple[int, int]] | None:
    """Collect (signal, pid) until the end of the lines; None when the demo took leave with `done`."""
    processes = []
    for line in lines:
        if line.strip() == "done":
            return None
        number, pid = line.split()
        processes.append((int(number), int(pid)))
    return processes


def end(pid: int, number: int) -> None:
    """Ask a process to end, and kill it when it does not."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)
        deadline = time.monotonic() + GRACE_S
        while time.monotonic() < deadline:
            time.sleep(_LOOK_S)
            os.kill(pid, 0)  # raises when it is gone
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
