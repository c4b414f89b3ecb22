"""The running parts of one middleware in one process: heartbeat, spool and threads, created after a fork."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Event, Thread
from typing import ParamSpec

from keygauge import __version__, tag
from keygauge.call import Call
from keygauge.clock import SECOND, now_ns
from keygauge.limits.authorizer import Authorizer
from keygauge.settings.settings import Settings
from keygauge.spool import event
from keygauge.spool.hourly_counts import HourlyCounts
from keygauge.spool.reporter import Reporter
from keygauge.spool.shipper import Shipper
from keygauge.spool.spool import Spool
from keygauge.sync.heartbeat import Heartbeat
from keygauge.sync.key_status import KeyStatus
from keygauge.telemetry import process_metrics, tracing
from keygauge.telemetry.aggregator import TURN_S
from keygauge.telemetry.cost_meter import CostMeter
from keygauge.usage import operations
from keygauge.usage.provider_rules import ProviderRules
from keygauge.usage.requested_models import RequestedModels

P = ParamSpec("P")

_log = logging.getLogger(__name__)

_DRAIN_S = 0.5
_DRAINED_S = 5.0  # how long a stopping process waits for the drain thread, which may be in the host's SDK
_SHIP_S = 5.0  # how long a stopping process waits for the ledger; another process adopts the rest


class Runtime:
    """The running parts of one middleware in one process."""

    def __init__(self, settings: Settings) -> None:
        self.aggregator = process_metrics.aggregator()
        self.answers = operations.Answers()
        self.requested_models = RequestedModels()
        self.estimates = settings.estimates
        self.key_header = settings.credential_header
        self.providers = ProviderRules(settings.providers)
        self.streams: set[Call] = set()  # adding and discarding are atomic, so no lock
        self.authorizer: Authorizer | None = None
        self.key_status: KeyStatus | None = None
        self._heartbeat: Heartbeat | None = None
        self._spool: Spool | None = None
        self._shipper: Shipper | None = None
        self._totals = HourlyCounts()
        self._meter: CostMeter | None = None
        if settings.service_url:
            self._heartbeat = Heartbeat(settings, on_fault=self.aggregator.fault, streams=self.streams)
            self.authorizer = Authorizer(
                self._heartbeat,
                enforces=settings.mode == "enforce",
                wait_s=settings.wait_s,
                providers=self.providers,
                takes_imported=settings.imported_keys,
            )
            self._meter = CostMeter(self._heartbeat.costing, self.aggregator)
            self._heartbeat.start()
            self._open_spool(settings, self._heartbeat)
            self.key_status = KeyStatus(settings)
        _log_start(settings)
        self._stopped = Event()
        self._drainer = Thread(target=self._drain, name="keygauge-drain", daemon=True)
        self._drainer.start()
        process_metrics.runtimes.add(self)

    def settle(self, call: Call) -> None:
        """Write a finished call's event, count the call, and settle its limits. Call once per request; raises nothing.

        The most important steps come first, and no step's failure affects the others.
        """
        if call.tag is not None:
            self._check_tag(call)
        authorizer = self.authorizer if call.reservation is not None else None
        try:
            if authorizer is not None and call.usage is None:
                self.attempt("estimate", authorizer.mark_estimated, call)
            if call.account is not None and self._heartbeat is not None:
                self._write(call)
        except Exception:  # noqa: BLE001 - our own failures must not reach the app
            self.fault("event")
        finally:
            self.attempt("record", self.aggregator.record, call)
        if authorizer is not None:
            self.attempt("settle", authorizer.settle, call)
        if call.context is not None:
            self.attempt("span", tracing.describe, call)

    def _write(self, call: Call) -> None:
        """Write a call's event, and count the call for comparison with the ledger."""
        try:
            if self._spool is None:
                self.aggregator.dropped("no_spool", 1)
                return
            try:
                line = event.line(call)
            except Exception:  # noqa: BLE001 - an app can set any value on its call
                self.fault("event")
                line = event.line(event.sound(call))
            self._spool.append(line)
        finally:
            self._totals.add(call)

    def _check_tag(self, call: Call) -> None:
        """Drop and count the end user that an app named if it is invalid."""
        try:
            tag.check(call.tag)
        except tag.TagError as error:
            call.tag = None
            self.aggregator.tag_dropped(error.fault)
        except Exception:  # noqa: BLE001 - an app can set a text with methods of its own
            call.tag = None
            self.fault("tag")

    def attempt(self, step: str, do: Callable[P, object], *args: P.args, **options: P.kwargs) -> None:
        """Run one of our own steps; a failure is counted and affects neither the app nor later steps."""
        try:
            do(*args, **options)
        except Exception:  # noqa: BLE001 - our own failures must not reach the app
            self.fault(step)

    def fault(self, reason: str) -> None:
        """Count and log a failure of our own, from an except block, without affecting the app."""
        _log.exception("KeyGauge failed at: %s", reason)
        self.aggregator.fault(reason)

    def stop(self) -> None:
        """Return leases, ship events and stop the threads."""
        process_metrics.runtimes.discard(self)
        self._stopped.set()
        self._drainer.join(_DRAINED_S)
        self.aggregator.drain()
        if self._heartbeat is not None:
            self._heartbeat.stop()
        if self._meter is not None:
            self._meter.stop()
        if self.key_status is not None:
            self.key_status.stop()
        if self._shipper is not None and self._spool is not None:
            is_empty = self._shipper.stop(_SHIP_S)
            self._spool.close(empty=is_empty, epoch=self._shipper.epoch)

    def heartbeat_age_s(self) -> float | None:
        """Return how long ago the key service last answered; None without a key service."""
        return None if self._heartbeat is None else (now_ns() - self._heartbeat.reached_ns) / SECOND

    def spool_events(self) -> int:
        """Return the number of events not yet in the ledger."""
        return self._shipper.pending if self._shipper else 0

    def spool_age_s(self) -> float:
        """Return the age of the oldest event not yet in the ledger."""
        return self._shipper.age_s() if self._shipper else 0.0

    def _drain(self) -> None:
        """Count calls by series and by hour, off the request path."""
        turn_ns = now_ns()
        while not self._stopped.wait(_DRAIN_S):
            self.attempt("drain", self.aggregator.drain)
            self.attempt("totals", self._totals.count_waiting)
            if now_ns() - turn_ns >= TURN_S * SECOND:
                turn_ns = now_ns()
                self.attempt("turn", self.aggregator.turn)

    def _open_spool(self, settings: Settings, heartbeat: Heartbeat) -> None:
        aggregator = self.aggregator
        try:
            self._spool = Spool(
                settings.spool_dir,
                settings.service_address,
                most_bytes=settings.spool_bytes,
                keep_s=settings.spool_keep_s,
                on_drop=lambda reason: aggregator.dropped(reason, 1),
            )
        except OSError:
            _log.exception("No events will reach the ledger: cannot write the spool in %s", settings.spool_dir)
            return
        self._shipper = Shipper(
            settings,
            self._spool,
            Reporter(settings, self._spool, self._totals, replica=heartbeat.replica),
            epoch=lambda: heartbeat.epoch,
            on_drop=lambda reason: aggregator.dropped(reason, 1),
            on_fault=aggregator.fault,
        )
        self._shipper.start()


def _log_start(settings: Settings) -> None:
    """Log the start with the settings but no token, also as fields for structured logs."""
    source = settings.service_address or "nowhere (calls are only observed)"
    _log.info(
        "KeyGauge %s starts: mode %s, service %s, keys and limits from %s",
        *(__version__, settings.mode, settings.service_name, source),
        extra={
            "keygauge.mode": settings.mode,
            "keygauge.service": settings.service_name,
            "keygauge.key_service": settings.service_address,
        },
    )
