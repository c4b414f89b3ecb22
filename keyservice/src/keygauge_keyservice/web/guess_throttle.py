"""A throttle for unknown credentials by address, as each costs a query."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from threading import Lock
from time import monotonic

from keygauge import networks
from keygauge_keyservice.errors import Problem

PER_WINDOW = 50  # of one address, in each process
WINDOW_S = 10.0


class GuessThrottle:
    """Counts what was sent in vain, by address, in windows that all addresses share."""

    def __init__(self, *, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._began_at = clock()
        self._counts: Counter[str] = Counter()

    def admit(self, ip: str | None) -> None:
        """Admit one more credential of an address.

        Raises:
            Problem: 429, too many that it sent do not exist.
        """
        with self._lock:
            left_s = self._began_at + WINDOW_S - self._clock()
            if left_s <= 0:
                self._began_at, left_s = self._clock(), WINDOW_S
                self._counts.clear()
            if self._counts[networks.holder(ip)] < PER_WINDOW:
                return
        raise Problem(
            429,
            "too_many_wrong_tokens",
            "This address sent too many credentials that don't exist. Check the token or key that your program sends.",
            headers={"Retry-After": str(int(left_s) + 1)},
        )

    def count(self, ip: str | None) -> None:
        """Count an unknown credential."""
        with self._lock:
            self._counts[networks.holder(ip)] += 1
