"""Periodic jobs; each run is done by one of the key service's processes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Event, Thread

from keygauge_keyservice import database, retention
from keygauge_keyservice.billing import billing
from keygauge_keyservice.database import Connection
from keygauge_keyservice.ledger import aside, ingest, packing, partition, tags
from keygauge_keyservice.ledger.plausible import Bounds
from keygauge_keyservice.ledger.replicas import replica_check
from keygauge_keyservice.limits import tag_counters
from keygauge_keyservice.notices.worker import Worker
from keygauge_keyservice.pricing import price_book

_log = logging.getLogger(__name__)

_INTERVAL_S = 15.0
_BOUNDS = Bounds()
_MONTHS_AHEAD = 2  # partitions created before their first event

_RETRY = timedelta(minutes=1)  # after a failure, if the job's interval is longer

# The process that updates the time does the job; the others skip it. If it dies, the job runs again when next due.
_CLAIM = """/* job.claim */
INSERT INTO job AS done (name, done_at) VALUES (%s, clock_timestamp())
ON CONFLICT (name) DO UPDATE SET done_at = excluded.done_at WHERE done.done_at <= clock_timestamp() - %s
RETURNING name"""
_PUT_OFF = "/* job.put_off */ UPDATE job SET done_at = clock_timestamp() - %s WHERE name = %s"


@dataclass(frozen=True)
class Job:
    """A job to run at an interval; `do` gets an autocommit connection."""

    name: str
    every: timedelta
    do: Callable[[Connection], None]


def maintenance_jobs(
    *, retention_days: int, every: timedelta = timedelta(minutes=1), bounds: Bounds = _BOUNDS
) -> list[Job]:
    """Return all maintenance jobs; `every` is how often the ledger is compared with its replicas."""
    return [
        Job("reconcile", every, _compare),
        Job("retake", timedelta(minutes=1), lambda connection: _retake(connection, bounds)),
        Job("fold tags", timedelta(minutes=5), _fold_tags),
        Job("prune tags' counters", timedelta(minutes=5), _prune_tags),
        Job("pack roll-ups", timedelta(hours=1), _pack),
        Job("close periods", timedelta(hours=1), _close),
        Job("prepare partitions", timedelta(hours=1), _prepare),
        Job("prune", timedelta(days=1), lambda connection: _prune(connection, retention_days)),
    ]


def notice_jobs(worker: Worker) -> list[Job]:
    """Return the jobs that notify account owners; receivers may be slow, so these get their own thread."""
    return [
        Job("find notices", timedelta(minutes=1), lambda connection: _find(worker, connection)),
        Job("deliver notices", timedelta(seconds=5), lambda connection: _deliver(worker, connection)),
    ]


def do_due(connection: Connection, todo: Sequence[Job]) -> list[str]:
    """Run the due jobs that no other process has claimed; return their names. A failed job stops no other.

    Raises:
        Exception: the connection must be replaced; the other jobs are still due.
    """
    done = []
    for job in todo:
        if connection.execute(_CLAIM, (job.name, job.every)).fetchone():
            try:
                job.do(connection)
            except (*database.UNAVAILABLE, partition.PartitionError) as error:
                where = error if isinstance(error, database.UNFIT) else None  # it may be a bug
                _log.warning("%s: postponed: %s", job.name, error, exc_info=where)
                connection.execute(_PUT_OFF, (max(job.every - _RETRY, timedelta(0)), job.name))
                if isinstance(error, database.STALE_STATEMENT):
                    raise  # a new connection has no prepared statements
            else:
                done.append(job.name)
    return done


class JobRunner:
    """A thread that runs the jobs on its own connection."""

    def __init__(self, url: str, todo: Sequence[Job], *, interval_s: float = _INTERVAL_S) -> None:
        self._url = url
        self._todo = todo
        self._interval_s = interval_s
        self._stop = Event()
        self._thread = Thread(target=self._run, name="keygauge-housekeeper", daemon=True)

    def start(self) -> None:
        """Start the thread; call this only after a fork."""
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Stop after the current job."""
        self._stop.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with database.connect(self._url) as connection:
                    connection.autocommit = True
                    while not self._stop.is_set():
                        do_due(connection, self._todo)
                        self._stop.wait(self._interval_s)
            except database.UNAVAILABLE as error:
                _log.warning("jobs wait for the database: %s", type(error).__name__)
                self._stop.wait(self._interval_s)
            except Exception:  # noqa: BLE001 - a bug in one job must not end all jobs
                _log.exception("a job failed")
                self._stop.wait(self._interval_s)


def _compare(connection: Connection) -> None:
    with connection.transaction():
        found = replica_check.check(connection, datetime.now(UTC) - replica_check.PERIOD)
    if found.missing_requests or found.missing_tokens or found.surplus_requests or found.surplus_tokens:
        _log.warning("the ledger and its replicas disagree (see keygauge ledger reconcile): %s", found)


def _retake(connection: Connection, bounds: Bounds) -> None:
    """Ingest events that came before their service knew the key, as after a restore or with a new token."""
    if ids := aside.find_now_known(connection):
        book = price_book.load()
        book.refresh(connection)
        taken = ingest.retake(connection, ids, book, now=datetime.now(UTC), bounds=bounds)
        _log.info("took %d events that had been set aside", taken)


def _fold_tags(connection: Connection) -> None:
    """Sum the rarer tags of accounts that have more than are kept separately."""
    if days := tags.fold(connection, datetime.now(UTC)):
        _log.info("summed the rarer tags of %d full days", days)


def _pack(connection: Connection) -> None:
    """Pack the roll-ups of completed half days into two fifths of the space."""
    if packed := packing.pack(connection, datetime.now(UTC)):
        _log.info("packed the roll-ups of %d half days of accounts", packed)


def _prune_tags(connection: Connection) -> None:
    """Delete the counters of past tags, and log limits that have as many tags as allowed."""
    tag_counters.prune(connection)
    if full := tag_counters.full(connection):
        _log.warning("limits with too many tags; new ones are refused: %s", ", ".join(full))


def _find(worker: Worker, connection: Connection) -> None:
    worker.find(connection, now=datetime.now(UTC))


def _deliver(worker: Worker, connection: Connection) -> None:
    while worker.deliver(connection, now=datetime.now(UTC)):
        pass  # as long as some arrive


def _close(connection: Connection) -> None:
    with connection.transaction():
        if closed := billing.close_periods(connection):
            _log.info("closed %d invoices", len(closed))


def _prepare(connection: Connection) -> None:
    """Create the partitions of the coming months in advance, so that a month's first batch does not wait for that."""
    partition.prepare(connection, datetime.now(UTC), months_ahead=_MONTHS_AHEAD)


def _prune(connection: Connection, retention_days: int) -> None:
    retention.prune(connection, datetime.now(UTC), retention_days=retention_days)
