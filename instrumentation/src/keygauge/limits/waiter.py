"""A call that waits for units: it keeps its place in the queues of its limits until it is admitted, refused or gone."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import Future
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Wait:
    """Decide again when `woken` is done, at `at_ns` at the latest where that is told."""

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
        """Wait to be woken from now on."""
        if self._woken.done():
            self._woken = Future()
        return Wait(self._woken, at_ns)

    def wake(self) -> None:
        """Have the call decide again; it does so once, however often it is woken meanwhile."""
        if not self._woken.done():
            self._woken.set_result(True)
