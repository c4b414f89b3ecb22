"""A key's status, requested from the key service for the key's caller; few at once, separate from other traffic."""

from __future__ import annotations

from threading import BoundedSemaphore, Lock

from keygauge.settings.settings import Settings
from keygauge.sync.client import ServiceClient, ServiceError

PATH = "/v1/key-status"
AT_ONCE = 2  # per process: a caller that asks all the time must not block the threads of others
_TIMEOUT_S = 5.0
_TOLD = frozenset({200, 401, 403, 422, 429})  # statuses passed on to the caller


class KeyStatus:
    """A client for key statuses; concurrent requests use separate connections."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._turns = BoundedSemaphore(AT_ONCE)
        self._lock = Lock()
        self._idle: list[ServiceClient] = []

    def ask(self, question: bytes) -> tuple[int, bytes] | None:
        """Return the answer's status and body; None if too many ask at once, or the key service is unavailable."""
        if not self._turns.acquire(blocking=False):
            return None
        client = self._take()
        try:
            status, body = client.exchange(PATH, question, "application/json")
        except ServiceError:
            return None
        finally:
            with self._lock:
                self._idle.append(client)
            self._turns.release()
        return (status, body) if status in _TOLD else None

    def stop(self) -> None:
        """Close the connections."""
        with self._lock:
            for client in self._idle:
                client.close()

    def _take(self) -> ServiceClient:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        settings = self._settings
        return ServiceClient(str(settings.service_url), str(settings.service_token), timeout_s=_TIMEOUT_S)
