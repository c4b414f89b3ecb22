"""A throttle per address for unknown credentials, since each costs a query.

The addresses that a metered service names count separately, so that no service can block them for another one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from threading import Lock
from time import monotonic

from keygauge import networks
from keygauge_keyservice.errors import Problem

PER_WINDOW = 50  # per address and process
WINDOW_S = 10.0


class GuessThrottle:
    """A limit on failed credentials per address, in fixed windows shared by all addresses."""

    def __init__(self, *, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._began_at = clock()
        self._counts: Counter[tuple[str | None, str]] = Counter()  # by service and holder of the address

    def admit(self, ip: str | None, *, service: str | None = None) -> None:
        """Admit another credential from an address, as named by a service; None: from the request's own.

        Raises:
            Problem: 429 if too many of its credentials were unknown.
        """
        with self._lock:
            left_s = self._began_at + WINDOW_S - self._clock()
            if left_s <= 0:
                self._began_at, left_s = self._clock(), WINDOW_S
                self._counts.clear()
            if self._counts[service, networks.holder(ip)] < PER_WINDOW:
                return
        raise Problem(
            429,
            "too_many_wrong_tokens",
            "This address sent too many credentials that don't exist. Check the token or key that your program sends.",
            headers={"Retry-After": str(int(left_s) + 1)},
        )

    def count(self, ip: str | None, *, service: str | None = None) -> None:
        """Count an unknown credential."""
        with self._lock:
            self._counts[service, networks.holder(ip)] += 1
