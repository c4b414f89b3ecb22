"""Reports to the key service what this process counted, by hour, so that the ledger can be compared with it."""

from __future__ import annotations

import json
import logging
from http import HTTPStatus
from time import monotonic

from keygauge.settings.settings import Settings
from keygauge.spool.hourly_counts import HourlyCounts
from keygauge.spool.spool import Spool
from keygauge.sync.client import ServiceClient, ServiceError

_log = logging.getLogger(__name__)

_INTERVAL_S = 10.0


class Reporter:
    """Reports after batches; for the shipper's thread."""

    def __init__(self, settings: Settings, spool: Spool, totals: HourlyCounts, *, replica: str) -> None:
        self._totals = totals
        self._spool = spool
        self._who = {
            "spool": spool.id,
            "replica": replica,
            "service": settings.service_name,
            "host": settings.host,
        }
        self._due_at = monotonic() + _INTERVAL_S
        self._has_shipped = False
        self._is_told = True

    def note_batch(self) -> None:
        """Note that a batch was shipped: a report follows, though it may tell nothing new."""
        self._has_shipped = True

    def forget_reported(self) -> None:
        """Tell everything once more: the key service may have forgotten some of it."""
        self._totals.forget_reported()

    def report(self, client: ServiceClient, *, at_once: bool) -> None:
        """Report what changed, when it is time for it.

        Raises:
            ServiceError: the key service does not answer; the same is told next time.
        """
        if not self._is_told or (monotonic() < self._due_at and not at_once):
            return
        self._due_at = monotonic() + _INTERVAL_S
        hours = self._totals.changed()
        if not hours and not self._has_shipped:
            return
        report = {
            **self._who,
            "written": self._spool.next,  # read after the calls were counted: what they wrote lies below
            "hours": [
                {"hour": hour, "requests": requests, "input_tokens": given, "output_tokens": made}
                for hour, (requests, given, made) in hours.items()
            ],
        }
        try:
            client.post("/v1/reports", json.dumps(report).encode(), "application/json")
        except ServiceError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            _log.info("The key service is an older version: it does not compare the ledger with this process's counts")
            self._is_told = False
        self._has_shipped = False
        self._totals.mark_reported(hours)
