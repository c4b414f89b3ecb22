"""Calls that wait for units; they keep their places in the queues of their limits until admitted, refused or gone."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import Future
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Wait:
    """A wait until `woken` is done, or until `at_ns` if that is given; then decide again."""

    woken: Future[bool]
    at_ns: int | None = None


class Waiter:
    """One waiting call, since `since_ns`, for units of the limits that it `lacks`. Guarded by `Admission.lock`."""

    __slots__ = ("_woken", "lacks", "since_ns")

    def __init__(self, since_ns: int) -> None:
        self.since_ns = since_ns
        self.lacks: Collection[object] = ()
        self._woken: Future[bool] = Future()

    def wait(self, at_ns: int | None = None) -> Wait:
        """Return a wait for the next wake-up, starting now."""
        if self._woken.done():
            self._woken = Future()
        return Wait(self._woken, at_ns)

    def wake(self) -> None:
        """Let the call decide again; it does so once, even if woken several times in the meantime."""
        if not self._woken.done():
            self._woken.set_result(True)
