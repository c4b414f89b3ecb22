"""The clock of all deadlines: it counts on while a virtual machine is suspended."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

now_ns: Callable[[], int] = (
    partial(time.clock_gettime_ns, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic_ns
)

MS = 1_000_000  # nanoseconds
SECOND = 1_000_000_000
