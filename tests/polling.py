"""Waiting for effects of threads and other processes."""

import time


def until(is_so, timeout_s=100):
    """Wait until a condition is true; fail after the timeout."""
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.01)
