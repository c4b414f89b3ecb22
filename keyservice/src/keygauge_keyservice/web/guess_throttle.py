"""A throttle per address for unknown credentials, since each costs a query.

The addresses that a metered service names count separately, so that no service can block them for another one.
Credentials that worked before pass, so that a guesser blocks none of those behind the same address.
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
_KNOWN_MAX = 10_000


class GuessThrottle:
    """A limit on failed credentials per address, in fixed windows shared by all addresses."""

    def __init__(self, *, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._began_at = clock()
        self._counts: Counter[tuple[str | None, str]] = Counter()  # by service and holder of the address
        self._known: set[str] = set()

    def admit(self, ip: str | None, digest: str, *, service: str | None = None) -> None:
        """Admit a credential, as its digest, from an address, as named by a service; None: from the request's own.

        Raises:
            Problem: 429 if too many of its credentials were unknown.
        """
        with self._lock:
            if digest in self._known:
                return
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

    def keep(self, digest: str) -> None:
        """Remember a credential that worked."""
        with self._lock:
            if len(self._known) >= _KNOWN_MAX:
                self._known.clear()
            self._known.add(digest)

    def count(self, ip: str | None, digest: str, *, service: str | None = None) -> None:
        """Count an unknown credential; it may have worked before."""
        with self._lock:
            self._known.discard(digest)
            self._counts[service, networks.holder(ip)] += 1
