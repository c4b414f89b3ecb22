"""Ships events from this host's spools to the ledger; its thread is its own: a slow ledger must not delay a beat."""

from __future__ import annotations

import logging
from collections.abc import Callable
from http import HTTPStatus
from threading import Event, Thread
from time import monotonic, time

from keygauge.settings import Settings
from keygauge.spool.reporter import Reporter
from keygauge.spool.segment import Batch, SpoolReader
from keygauge.spool.spool import Ownership, Spool, others
from keygauge.sync.client import ServiceClient, ServiceError

_log = logging.getLogger(__name__)

_INTERVAL_S = 1.0
_ADOPTION_S = 15.0  # how often dead processes' spools are looked for
_CLAIM_S = 3.0  # for which a spool is kept for the process that sent it last; see docs/protocol.md
_TIMEOUT_S = 10.0
_POISON = frozenset({HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.BAD_REQUEST})


class Shipper:
    """A thread that ships this process's spool, and those of processes of this host that died."""

    def __init__(
        self,
        settings: Settings,
        spool: Spool,
        reporter: Reporter,
        *,
        on_drop: Callable[[str], None],
        on_fault: Callable[[str], None],
    ) -> None:
        assert settings.service_url is not None  # noqa: S101 - for the type checker; Settings saw to it
        assert settings.service_token is not None  # noqa: S101 - as above
        self._spool = spool
        self._reporter = reporter
        self._on_drop = on_drop
        self._on_fault = on_fault
        self._client = ServiceClient(settings.service_url, settings.service_token, timeout_s=_TIMEOUT_S)
        self._address = settings.service_address
        self._backlog = SpoolReader(spool.directory, spool.id)
        self._adopt_at = 0.0
        self._due = Event()
        self._stop = Event()
        self._complained = False
        self._thread = Thread(target=self._run, name="keygauge-shipper", daemon=True)

    @property
    def pending(self) -> int:
        """Count the events not yet in the ledger."""
        return self._spool.next - self._backlog.next

    def age_s(self) -> float:
        """Tell the age of the oldest event not yet in the ledger, 0 when there is none."""
        time_us = self._backlog.oldest_time_us() if self.pending else None
        return max(0.0, time() - time_us / 1e6) if time_us else 0.0

    def start(self) -> None:
        """Start shipping."""
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Ship what there is and end; tell whether everything is in the ledger."""
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
                self._ship(self._backlog)
                self._spool.shrink(self._backlog.next)
                self._backlog.batch()  # moves on to the new segment
                self._spool.forget(self._backlog.finished())
                self._reporter.report(self._client, at_once=stopping)
                if not stopping:
                    self._adopt()
            except ServiceError as error:
                self._complain(error)
            except Exception:  # noqa: BLE001 - a fault of ours must not end the shipping
                _log.exception("KeyGauge's shipper failed")
                self._on_fault("shipper")
            if stopping:
                self._client.close()
                return

    def _ship(self, backlog: SpoolReader) -> None:
        while batch := backlog.batch():
            try:
                next_number = self._post(backlog.spool_id, batch)
            except ServiceError as error:
                if error.status not in _POISON:
                    raise
                next_number = self._post_one(backlog.spool_id, batch)
            backlog.acknowledge(next_number, batch)
            self._reporter.note_batch()
            self._reporter.report(self._client, at_once=False)  # not only when all is shipped: that may never be so
        self._recovered()

    def _post(self, spool_id: str, batch: Batch) -> int:
        path = f"/v1/events?spool={spool_id}&first={batch.first}&owner={self._spool.id}"
        answer = self._client.post(path, b"".join(batch.lines), "application/x-ndjson")
        for refused in answer["refused"]:
            _log.warning("The ledger refused event %s of spool %s: %s", refused["number"], spool_id, refused["code"])
            self._on_drop("refused")
        return int(answer["next"])

    def _post_one(self, spool_id: str, batch: Batch) -> int:
        """Send a batch that was refused as a whole line by line, so that one bad line costs only itself."""
        for number, line in enumerate(batch.lines, batch.first):
            try:
                self._post(spool_id, Batch(number, [line]))
            except ServiceError as error:
                if error.status not in _POISON:
                    raise
                _log.warning("The ledger refused event %s of spool %s: %s", number, spool_id, error)
                self._on_drop("refused")
        return batch.first + len(batch.lines)

    def _adopt(self) -> None:
        """Ship the spools of this key service's processes that died on this host, then delete them."""
        if monotonic() < self._adopt_at:
            return
        self._adopt_at = monotonic() + _ADOPTION_S
        for spool_id in others(self._spool.directory, self._address):
            if ownership := Ownership.take(self._spool.directory, spool_id):
                try:
                    self._ship(SpoolReader(self._spool.directory, spool_id))
                    ownership.delete_spool()
                except ServiceError as error:
                    if error.status != HTTPStatus.CONFLICT:
                        raise
                    self._adopt_at = monotonic() + _CLAIM_S
                finally:
                    ownership.release()

    def _complain(self, error: ServiceError) -> None:
        """Log the first of a row of failures; the spool's age tells how long it lasts."""
        if not self._complained:
            self._complained = True
            _log.warning("Events wait on disk, the ledger is away: %s", error)

    def _recovered(self) -> None:
        if self._complained:
            self._complained = False
            _log.warning("Events reach the ledger again")  # as loud as that they did not
