"""Turns of which each service has a share, so that the callers of one service cannot take those of another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock


class Shares:
    """At most `most` turns at once, of which a service has at most `each`."""

    def __init__(self, *, each: int, most: int) -> None:
        self._each, self._most = each, most
        self._taken: Counter[str] = Counter()
        self._lock = Lock()

    @contextmanager
    def turn(self, service: str) -> Iterator[bool]:
        """Take a turn of a service's share, and yield whether there was one."""
        with self._lock:
            is_free = self._taken[service] < self._each and self._taken.total() < self._most
            self._taken[service] += is_free
        try:
            yield is_free
        finally:
            with self._lock:
                self._taken[service] -= is_free
                self._taken = +self._taken  # forget services without turns
