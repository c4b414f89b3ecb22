"""Sending of spooled events to the ledger, in batches."""

from __future__ import annotations

import logging
from collections.abc import Callable
from http import HTTPStatus

from keygauge.settings.settings import Settings
from keygauge.spool.segment import Batch, SpoolReader
from keygauge.sync.client import ServiceClient, ServiceError

_log = logging.getLogger(__name__)

_TIMEOUT_S = 10.0
_REFUSALS_LOGGED_MAX = 5  # per batch
_POISON = frozenset({HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.BAD_REQUEST})


class Sender:
    """One connection to the ledger, for one thread; `owner` is the id of the sending process's own spool."""

    def __init__(self, settings: Settings, owner: str, *, on_drop: Callable[[str], None]) -> None:
        assert settings.service_url is not None  # noqa: S101 - for the type checker; callers send only if it is set
        assert settings.service_token is not None  # noqa: S101 - for the type checker; Settings requires it
        self.client = ServiceClient(settings.service_url, settings.service_token, timeout_s=_TIMEOUT_S)
        self._owner = owner
        self._on_drop = on_drop

    def send(self, backlog: SpoolReader) -> bool:
        """Send the next batch of a spool; return False if there is none.

        Raises:
            ServiceError: the ledger did not accept it; the next call sends the same batch.
        """
        batch = backlog.batch()
        if batch is None:
            return False
        try:
            next_number = self._post(backlog, batch)
        except ServiceError as error:
            if error.status not in _POISON:
                raise
            next_number = self._post_one_by_one(backlog, batch)
        backlog.acknowledge(next_number, batch)
        return True

    def close(self) -> None:
        """Close the connection."""
        self.client.close()

    def _post(self, backlog: SpoolReader, batch: Batch) -> int:
        """Send a batch; return the number of the first event missing in the ledger, which may precede the batch."""
        spool_id, oldest = backlog.spool_id, min(backlog.oldest(), batch.first)
        path = f"/v1/events?spool={spool_id}&first={batch.first}&oldest={oldest}&owner={self._owner}"
        answer = self.client.post(path, b"".join(batch.lines), "application/x-ndjson")
        refused = answer["refused"]
        for one in refused[:_REFUSALS_LOGGED_MAX]:
            _log.warning("The ledger refused event %s of spool %s: %s", one["number"], spool_id, one["code"])
        if len(refused) > _REFUSALS_LOGGED_MAX:
            _log.warning("The ledger refused %d events of spool %s in all", len(refused), spool_id)
        for _ in refused:
            self._on_drop("refused")
        return int(answer["next"])

    def _post_one_by_one(self, backlog: SpoolReader, batch: Batch) -> int:
        """Send a refused batch line by line, so that a bad line loses only itself."""
        for number, line in enumerate(batch.lines, batch.first):
            try:
                next_number = self._post(backlog, Batch(number, [line]))
                if next_number <= number:
                    return next_number
            except ServiceError as error:
                if error.status not in _POISON:
                    raise
                _log.warning("The ledger refused event %s of spool %s: %s", number, backlog.spool_id, error)
                self._on_drop("refused")
        return batch.first + len(batch.lines)
