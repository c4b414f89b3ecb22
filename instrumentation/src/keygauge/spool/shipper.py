"""Shipping of this process's events to the ledger, in a separate thread so that a slow ledger delays no heartbeat."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Event, Thread
from time import time

from keygauge.settings.settings import Settings
from keygauge.spool.adopter import Adopter
from keygauge.spool.reporter import Reporter
from keygauge.spool.segment import BATCH_LINES, SpoolReader
from keygauge.spool.sender import Sender
from keygauge.spool.spool import Spool
from keygauge.sync.client import ServiceError

_log = logging.getLogger(__name__)

_INTERVAL_S = 1.0
_ADOPTION_S = 15.0  # interval of looking for dead processes' spools


class Shipper:
    """A thread that ships this process's spool; an `Adopter` thread ships those of dead processes."""

    def __init__(
        self,
        settings: Settings,
        spool: Spool,
        reporter: Reporter,
        *,
        epoch: Callable[[], str | None] = lambda: None,
        on_drop: Callable[[str], None],
        on_fault: Callable[[str], None],
    ) -> None:
        self._spool = spool
        self._reporter = reporter
        self._on_fault = on_fault
        self._sender = Sender(settings, spool.id, on_drop=on_drop)
        self._adopter = Adopter(
            settings, spool, interval_s=_ADOPTION_S, epoch=epoch, on_drop=on_drop, on_fault=on_fault
        )
        self._backlog = SpoolReader(spool.directory, spool.id)
        self._epoch = epoch
        self.epoch: str | None = None  # of the ledger that has the shipped events
        self._due = Event()
        self._stop = Event()
        self._is_failing = False
        self._thread = Thread(target=self._run, name="keygauge-shipper", daemon=True)

    @property
    def pending(self) -> int:
        """Return the number of events not yet in the ledger."""
        return self._spool.next - self._backlog.next

    def age_s(self) -> float:
        """Return the age of the oldest event not yet in the ledger; 0 if there is none."""
        time_us = self._backlog.oldest_time_us() if self.pending else None
        return max(0.0, time() - time_us / 1e6) if time_us else 0.0

    def start(self) -> None:
        """Start shipping."""
        self._thread.start()
        self._adopter.start()

    def stop(self, timeout_s: float) -> bool:
        """Ship the remaining events and stop; return whether everything is in the ledger."""
        self._adopter.stop()
        self._stop.set()
        self._due.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive() and self.pending == 0

    def _run(self) -> None:
        while True:
            self._due.wait(_INTERVAL_S)
            stopping = self._stop.is_set()
            try:
                self._spool.restore()
                self._check_epoch()
                self._ship(stopping=stopping)
                self._spool.shrink(self._backlog.next)
                self._backlog.batch()  # advances to the new segment
                self._forget()
                self._reporter.report(self._sender.client, at_once=stopping)
            except ServiceError as error:
                self._log_failure(error)
            except Exception:  # noqa: BLE001 - our own failures must not end the thread
                _log.exception("KeyGauge's shipper failed")
                self._on_fault("shipper")
            if stopping:
                self._sender.close()
                return

    def _check_epoch(self) -> None:
        """If the ledger's epoch changed, report all counts again and resend the last segment: it may miss events."""
        epoch = self._epoch()
        if self.epoch not in {None, epoch}:
            self._reporter.forget_reported()
            if not self.pending:
                self._backlog.look_back()
        self.epoch = epoch

    def _ship(self, *, stopping: bool) -> None:
        """Ship the events written so far; ship later ones only in full batches, or when stopping.

        Otherwise, under steady traffic, each batch would hold only the few events written during the previous one.
        """
        until = self._spool.next
        while stopping or self._backlog.next < until or self.pending >= BATCH_LINES:
            if not self._sender.send(self._backlog):
                return
            self._forget()
            self._reporter.note_batch()
            self._reporter.report(self._sender.client, at_once=False)
            self._recovered()

    def _forget(self) -> None:
        self._spool.forget(self._backlog.finished(), offset=self._backlog.offset)

    def _log_failure(self, error: ServiceError) -> None:
        """Log the first failure in a row; the spool's age shows how long it lasts."""
        if not self._is_failing:
            self._is_failing = True
            _log.warning("Ledger unreachable; keeping events on disk: %s", error)

    def _recovered(self) -> None:
        if self._is_failing:
            self._is_failing = False
            _log.warning("Ledger reachable again")  # at the same level as the failure
