"""Bounds on the memory that an action takes.

Other threads of the process allocate memory, too, such as the key service's for its prices: one of three runs in which
the sum stays below the bound shows that the action does.
"""

import gc
import tracemalloc
from collections.abc import Callable


def peaks_below(bytes_max: int, action: Callable[[], object]) -> bool:
    """Return whether the peak of the memory of an action is below a bound."""
    return any(_measure(action)[1] < bytes_max for _ in range(3))


def keeps_below(bytes_max: int, action: Callable[[], object]) -> bool:
    """Return whether what an action returns takes less memory than a bound."""
    return any(_measure(action)[0] < bytes_max for _ in range(3))


def _measure(action: Callable[[], object]) -> tuple[int, int]:
    """Run an action; return the memory that its result takes, and the peak."""
    gc.collect()
    tracemalloc.start()
    try:
        kept = action()
        _, peak = tracemalloc.get_traced_memory()
        gc.collect()
        now, _ = tracemalloc.get_traced_memory()
        del kept
        return now, peak
    finally:
        tracemalloc.stop()
