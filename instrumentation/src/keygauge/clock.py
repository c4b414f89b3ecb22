"""The clock for all deadlines; it keeps running while the (virtual) machine is suspended."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

now_ns: Callable[[], int] = (
    partial(time.clock_gettime_ns, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic_ns
)

MS = 1_000_000  # nanoseconds
SECOND = 1_000_000_000

_NAMESPACE = 0xEFFFFFFA  # PROC_TIME_INIT_INO of Linux: other time namespaces can offset their clocks
_PROC = Path("/proc")


def name() -> str | None:
    """Return the clock's name, which processes that read the same clock share; None if unknown."""
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return None
    try:
        if (_PROC / "self/ns/time").stat().st_ino != _NAMESPACE:
            return None
        return (_PROC / "sys/kernel/random/boot_id").read_text("ascii").strip() or None
    except (OSError, ValueError):
        return None
