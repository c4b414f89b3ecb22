"""What one process runs: aggregator, spool and threads; made after a fork, at the host's start or first request."""

from __future__ import annotations

import atexit
import logging
import multiprocessing
import multiprocessing.util
import os
import signal
from collections.abc import Callable
from threading import Event, Lock, Thread, current_thread, main_thread
from types import FrameType
from typing import ParamSpec
from weakref import WeakSet

from opentelemetry.metrics import MeterProvider, get_meter_provider

from keygauge import __version__, metrics
from keygauge.call import Call
from keygauge.clock import SECOND, now_ns
from keygauge.limits.authorizer import Authorizer
from keygauge.settings import Settings
from keygauge.spool import event
from keygauge.spool.hourly_counts import HourlyCounts
from keygauge.spool.reporter import Reporter
from keygauge.spool.shipper import Shipper
from keygauge.spool.spool import Spool
from keygauge.sync.heartbeat import Heartbeat
from keygauge.telemetry import setup, tracing
from keygauge.telemetry.aggregator import TURN_S, Aggregator
from keygauge.telemetry.cost_meter import CostMeter
from keygauge.telemetry.instruments import instrument
from keygauge.usage import operations
from keygauge.usage.asked_models import AskedModels
from keygauge.usage.provider_rules import ProviderRules

P = ParamSpec("P")

_log = logging.getLogger(__name__)

_DRAIN_S = 0.5
_FLUSH_MS = 5000.0
_SHIP_S = 5.0  # the longest that a process's end waits for the ledger; what is left another process adopts


class Runtime:
    """The running parts behind one middleware in one process."""

    def __init__(self, settings: Settings) -> None:
        self.aggregator = _aggregator()
        self.answers = operations.Answers()
        self.asked = AskedModels()
        self.estimates = settings.estimates
        self.providers = ProviderRules(settings.providers)
        self.authorizer: Authorizer | None = None
        self._heartbeat: Heartbeat | None = None
        self._spool: Spool | None = None
        self._shipper: Shipper | None = None
        self._totals = HourlyCounts()
        self._meter: CostMeter | None = None
        if settings.service_url:
            self._heartbeat = Heartbeat(settings, on_fault=self.aggregator.fault)
            self.authorizer = Authorizer(
                self._heartbeat,
                enforces=settings.mode == "enforce",
                wait_s=settings.wait_s,
                providers=self.providers,
            )
            self._meter = CostMeter(self._heartbeat.costing, self.aggregator)
            self._heartbeat.start()
            self._open_spool(settings, self._heartbeat)
        self._stopped = Event()
        Thread(target=self._drain, name="keygauge-drain", daemon=True).start()
        _running.add(self)

    def settle(self, call: Call) -> None:
        """Write an ended call's event and count it, then settle its limits; called once per request, raises nothing.

        What must not be lost comes first, and each step stands alone.
        """
        authorizer = self.authorizer if call.reservation is not None else None
        if authorizer is not None:
            self.attempt("estimate", authorizer.mark_estimated, call)
        if call.account is not None and self._heartbeat is not None:
            try:
                self._write(call)
            except Exception:  # noqa: BLE001 - ours, never the host's
                self.fault("event")
            try:
                self._totals.add(call)
            except Exception:  # noqa: BLE001 - as above
                self.fault("totals")
        self.aggregator.record(call)
        if authorizer is not None:
            self.attempt("settle", authorizer.settle, call)
        if call.context is not None:
            self.attempt("span", tracing.describe, call)

    def attempt(self, step: str, do: Callable[P, object], *args: P.args, **options: P.kwargs) -> None:
        """Do one step of ours; one that fails is counted, and neither the host nor the next step notices."""
        try:
            do(*args, **options)
        except Exception:  # noqa: BLE001 - ours, never the host's
            self.fault(step)

    def _write(self, call: Call) -> None:
        if self._spool is None:
            self.aggregator.dropped("no_spool", 1)
            return
        try:
            line = event.line(call)
        except Exception:  # noqa: BLE001 - an app may have put anything into its call
            self.fault("event")
            line = event.line(event.sound(call))
        self._spool.append(line)

    def fault(self, reason: str) -> None:
        """Count and log a failure of our own, from an except block; the host does not notice."""
        _log.exception("KeyGauge failed at: %s", reason)
        self.aggregator.fault(reason)

    def stop(self) -> None:
        """Give leases back, ship events and end the threads."""
        _running.discard(self)
        self._stopped.set()
        self.aggregator.drain()
        if self._heartbeat is not None:
            self._heartbeat.stop()
        if self._meter is not None:
            self._meter.stop()
        if self._shipper is not None and self._spool is not None:
            is_empty = self._shipper.stop(_SHIP_S)
            self._spool.close(empty=is_empty, epoch=self._shipper.epoch)

    def heartbeat_age_s(self) -> float | None:
        """Tell how long ago the key service last answered; None where there is none to answer."""
        return None if self._heartbeat is None else (now_ns() - self._heartbeat.reached_ns) / SECOND

    def spool_events(self) -> int:
        """Count the events not yet in the ledger."""
        return self._shipper.pending if self._shipper else 0

    def spool_age_s(self) -> float:
        """Tell the age of the oldest event not yet in the ledger."""
        return self._shipper.age_s() if self._shipper else 0.0

    def _drain(self) -> None:
        """Count, by series and by hour, off the request path."""
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
            _log.exception("No events will reach the ledger: the spool at %s cannot be written", settings.spool_dir)
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


class Process:
    """The runtime of one middleware, in whichever process it finds itself."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.runtime: Runtime | None = None
        self._stopping = Lock()
        _processes.add(self)
        _outlive_terminate()

    def start(self) -> Runtime:
        """Return the runtime of this process; the first call starts it, whatever thread it comes from."""
        with _Starting.lock:
            if self.runtime is None:
                self.runtime = Runtime(self.settings)
                _end_with_process()
            return self.runtime

    def stop(self) -> None:
        """Stop, or wait for the thread that does; a later request starts anew."""
        with self._stopping:
            runtime, self.runtime = self.runtime, None
            if runtime is not None:
                runtime.stop()

    def forget(self) -> None:
        """Begin anew in a child."""
        self.runtime = None
        self._stopping = Lock()


_processes: WeakSet[Process] = WeakSet()
_running: WeakSet[Runtime] = WeakSet()


class _Starting:
    """One start at a time: threads of a server may bring a process's first requests at once."""

    lock = Lock()
    ends_with_process = False


class _Counted:
    """The one aggregator of this process, and whose meter its instruments are on."""

    aggregator: Aggregator | None = None
    provider: MeterProvider | None = None  # our own, where the host has none


def _aggregator() -> Aggregator:
    """Return the one aggregator of this process; its instruments are made once."""
    if _Counted.aggregator is None:
        provider = _provider()
        _Counted.provider = None if provider is get_meter_provider() else provider
        _Counted.aggregator = Aggregator(max_series=setup.max_series(provider))
        meter = (provider or get_meter_provider()).get_meter("keygauge", __version__)
        instrument(meter, _Counted.aggregator, gauges=_GAUGES)
    return _Counted.aggregator


def _provider() -> MeterProvider | None:
    try:
        return setup.configure()
    except setup.TelemetryError as error:
        _log.error("KeyGauge's metrics go nowhere: %s", error)
        return None


def flush() -> None:
    """Push the last counts now: a server may end the process by a signal, past every exit handler."""
    provider = setup.host_provider() or _Counted.provider
    flush = getattr(provider, "force_flush", None)
    if flush is None:
        return
    if _Counted.aggregator is not None:
        _Counted.aggregator.is_ending = True
    try:
        flush(_FLUSH_MS)
    except Exception:  # noqa: BLE001 - the SDK's, at the end of a process that ends anyway
        _log.warning("The last metrics could not be pushed", exc_info=True)


def _oldest_heartbeat_s() -> float | None:
    return max((age for runtime in list(_running) if (age := runtime.heartbeat_age_s()) is not None), default=None)


_GAUGES = {
    metrics.BEAT_AGE: _oldest_heartbeat_s,
    metrics.SPOOL_EVENTS: lambda: sum(runtime.spool_events() for runtime in list(_running)),
    metrics.SPOOL_AGE: lambda: max((runtime.spool_age_s() for runtime in list(_running)), default=0.0),
}


def _forget() -> None:
    """Begin anew in a child: threads did not come along, and leases, counts and the spool are the parent's."""
    _Starting.ends_with_process = False
    _Starting.lock = Lock()  # another thread of the parent may have held it
    for process in list(_processes):
        process.forget()
    _running.clear()
    if _Counted.provider is not None:
        _Counted.aggregator = _Counted.provider = None
    elif _Counted.aggregator is not None:  # a host's provider keeps the instruments that read this one
        _Counted.aggregator.reset()


def _stop_all() -> None:
    for process in list(_processes):
        process.stop()


def _end_with_process() -> None:
    """See that a child of `multiprocessing` (a worker of granian) ends well: it never comes to its exit handlers."""
    if multiprocessing.parent_process() is not None and not _Starting.ends_with_process:
        _Starting.ends_with_process = True
        multiprocessing.util.Finalize(None, _end, exitpriority=0)


def _end() -> None:
    _stop_all()
    flush()


def _outlive_terminate() -> None:
    """See that a child of `multiprocessing` ships what it has when terminated, where the host lets that kill it.

    hypercorn terminates all workers as soon as the first has ended, amid their own ends.
    """
    if (
        multiprocessing.parent_process() is not None
        and current_thread() is main_thread()
        and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    ):
        signal.signal(signal.SIGTERM, _end_before_terminate)


def _end_before_terminate(number: int, _: FrameType | None) -> None:
    """End in a thread of its own, as the main one may hold any lock; the next signal kills at once."""
    signal.signal(number, signal.SIG_DFL)

    def end() -> None:
        _end()
        os.kill(os.getpid(), number)

    Thread(target=end, name="keygauge-end").start()


os.register_at_fork(after_in_child=_forget)
atexit.register(_stop_all)
