"""Shipping of dead processes' spools on this host, in a separate thread so that the process's own spool never waits."""

from __future__ import annotations

import logging
from collections.abc import Callable
from http import HTTPStatus
from threading import Event, Thread

from keygauge.settings.settings import Settings
from keygauge.spool.segment import SpoolReader
from keygauge.spool.sender import Sender
from keygauge.spool.spool import Ownership, Spool, clear_kept, others
from keygauge.sync.client import ServiceError

_log = logging.getLogger(__name__)

_CLAIM_S = 3.0  # how long a spool stays claimed by the process that sent it last; see docs/reference/protocol.md


class Adopter:
    """A thread that ships dead processes' spools of the same key service, then deletes them."""

    def __init__(
        self,
        settings: Settings,
        spool: Spool,
        *,
        interval_s: float,
        epoch: Callable[[], str | None],
        on_drop: Callable[[str], None],
        on_fault: Callable[[str], None],
    ) -> None:
        self._interval_s = interval_s
        self._epoch = epoch
        self._keep_s = settings.spool_keep_s
        self._most_bytes = settings.spool_bytes
        self._directory = spool.directory
        self._address = settings.service_address
        self._sender = Sender(settings, spool.id, on_drop=on_drop)
        self._on_fault = on_fault
        self._failed: set[str] = set()  # spools that could not be shipped; each is logged once
        self._stop = Event()
        self._thread = Thread(target=self._run, name="keygauge-adopter", daemon=True)

    def start(self) -> None:
        """Start adopting."""
        self._thread.start()

    def stop(self) -> None:
        """Stop after the current batch; another process adopts the rest."""
        self._stop.set()

    def _run(self) -> None:
        pause_s = 0.0
        while not self._stop.wait(pause_s):
            try:
                pause_s = self.adopt()
            except Exception:  # noqa: BLE001 - our own failures must not end the thread
                _log.exception("KeyGauge's adopter failed")
                self._on_fault("adopter")
                pause_s = self._interval_s
        self._sender.close()

    def adopt(self) -> float:
        """Ship every available spool, skipping those that fail; return the seconds until the next attempt.

        Spools that failed before come last, so that they do not delay the others.
        """
        pause_s = self._interval_s
        epoch = self._epoch()
        clear_kept(self._directory, self._address, epoch=epoch, keep_s=self._keep_s, most_bytes=self._most_bytes)
        for spool_id in sorted(others(self._directory, self._address), key=self._failed.__contains__):
            ownership = None if self._stop.is_set() else Ownership.take(self._directory, spool_id)
            if ownership is None:
                continue
            try:
                self._ship(ownership, epoch)
            except ServiceError as error:
                if error.status == HTTPStatus.CONFLICT:
                    pause_s = _CLAIM_S
                else:
                    self._log_failure(spool_id, error)
            finally:
                ownership.release()
        return pause_s

    def _ship(self, ownership: Ownership, epoch: str | None) -> None:
        backlog = SpoolReader(self._directory, ownership.spool_id)
        if epoch is not None:
            backlog.look_back()  # the ledger may have most of it already, and answers where to continue
        while self._sender.send(backlog):
            if self._stop.is_set():
                return
        if epoch is not None and self._keep_s and backlog.next:
            ownership.keep(epoch)
        else:
            ownership.delete_spool()
        self._failed.discard(ownership.spool_id)

    def _log_failure(self, spool_id: str, error: ServiceError) -> None:
        if spool_id not in self._failed:
            self._failed.add(spool_id)
            _log.warning("Spool %s of a dead process stays on disk: %s", spool_id, error)
