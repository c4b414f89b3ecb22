"""Reports of this process's hourly counts to the key service, for comparison with the ledger."""

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
    """A reporter that sends counts after batches; for the shipper's thread only."""

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
        self._is_supported = True

    def note_batch(self) -> None:
        """Record that a batch was shipped: a report follows even if no count changed."""
        self._has_shipped = True

    def forget_reported(self) -> None:
        """Report all counts again: the key service may have lost some."""
        self._totals.forget_reported()

    def report(self, client: ServiceClient, *, at_once: bool) -> None:
        """Report changed counts if a report is due.

        Raises:
            ServiceError: the key service does not answer; the next report includes the same counts.
        """
        if not self._is_supported or (monotonic() < self._due_at and not at_once):
            return
        self._due_at = monotonic() + _INTERVAL_S
        hours = self._totals.changed()
        if not hours and not self._has_shipped:
            return
        report = {
            **self._who,
            "written": self._spool.next,  # read after counting, so events of counted calls have lower numbers
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
            self._is_supported = False
        self._has_shipped = False
        self._totals.mark_reported(hours)
