"""The process's single aggregator, its instruments, and the final push of its counts."""

from __future__ import annotations

import logging
from typing import Protocol
from weakref import WeakSet

from opentelemetry.metrics import MeterProvider, get_meter_provider

from keygauge import __version__, metrics
from keygauge.settings import conventions
from keygauge.telemetry import setup
from keygauge.telemetry.aggregator import Aggregator
from keygauge.telemetry.instruments import instrument

_log = logging.getLogger(__name__)

_FLUSH_MS = 5000.0


class _Gauged(Protocol):
    """The values that the process's gauges read."""

    def heartbeat_age_s(self) -> float | None: ...

    def spool_events(self) -> int: ...

    def spool_age_s(self) -> float: ...


runtimes: WeakSet[_Gauged] = WeakSet()  # those running in this process


class _Counted:
    """The aggregator, and the provider of the meter that its instruments are on."""

    aggregator: Aggregator | None = None
    provider: MeterProvider | None = None  # our own, if the host has none


def aggregator() -> Aggregator:
    """Return the process's aggregator; the first call creates it and its instruments."""
    if _Counted.aggregator is None:
        provider = _provider()
        _Counted.provider = None if provider is get_meter_provider() else provider
        _Counted.aggregator = Aggregator(max_series=setup.max_series(provider))
        meter = (provider or get_meter_provider()).get_meter("keygauge", __version__)
        instrument(meter, _Counted.aggregator, gauges=_GAUGES, profiles=conventions.chosen())
    return _Counted.aggregator


def _provider() -> MeterProvider | None:
    try:
        return setup.configure()
    except (setup.TelemetryError, ValueError) as error:  # ValueError: the SDK refuses one of its variables
        _log.error("KeyGauge's metrics are not exported: %s", error)
        return None


def flush() -> None:
    """Push the last counts now: a server may kill the process with a signal, which skips exit handlers."""
    provider = setup.host_provider() or _Counted.provider
    flush = getattr(provider, "force_flush", None)
    if flush is None:
        return
    if _Counted.aggregator is not None:
        _Counted.aggregator.is_ending = True
    try:
        flush(_FLUSH_MS)
    except Exception:  # noqa: BLE001 - raised by the SDK, while the process is ending anyway
        _log.warning("The last metrics could not be pushed", exc_info=True)


def _oldest_heartbeat_s() -> float | None:
    return max((age for runtime in list(runtimes) if (age := runtime.heartbeat_age_s()) is not None), default=None)


_GAUGES = {
    metrics.BEAT_AGE: _oldest_heartbeat_s,
    metrics.SPOOL_EVENTS: lambda: sum(runtime.spool_events() for runtime in list(runtimes)),
    metrics.SPOOL_AGE: lambda: max((runtime.spool_age_s() for runtime in list(runtimes)), default=0.0),
}


def forget() -> None:
    """Reset in a child process: the counts are the parent's."""
    runtimes.clear()
    if _Counted.provider is not None:
        _Counted.aggregator = _Counted.provider = None
    elif _Counted.aggregator is not None:  # the host's provider keeps the instruments that read it
        _Counted.aggregator.reset()
