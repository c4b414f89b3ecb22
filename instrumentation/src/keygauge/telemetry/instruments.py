"""The OpenTelemetry instruments that read the aggregator; names, units and attributes come from `keygauge.metrics`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from keygauge import metrics
from keygauge.call import PART, Call
from keygauge.metrics import Metric
from keygauge.telemetry.aggregator import GIVE_WAY, Aggregator, Observe
from keygauge.telemetry.counters import Counters
from keygauge.telemetry.gen_ai import GenAiMetrics
from keygauge.telemetry.labels import NO_STATUS, Labels

Gauge = Callable[[], float | None]  # None: no value to report
Counts = Mapping[tuple[Any, ...], int | float]  # by attribute values, in the order of the metric's attributes

_NS_PER_S = 1e9
_NANOUSD_PER_USD = 10**9

# The field of `Labels` behind each attribute; attributes specific to one metric are added by its callback.
_FIELDS = {
    metrics.KEY: "key",
    metrics.ROUTE: "route",
    metrics.MODEL: "model",
    metrics.REQUESTED_MODEL: "requested",
    metrics.METHOD: "method",
    metrics.STATUS: "status",
    metrics.ERROR: "error",
    metrics.PROVIDER: "provider",
    metrics.LIMIT: "limit",
    metrics.OUTCOME: "outcome",
    metrics.STREAM: "stream",
    metrics.REASON: "missing",
}


def instrument(
    meter: Meter, aggregator: Aggregator, *, gauges: Mapping[Metric, Gauge], profiles: frozenset[str] = frozenset()
) -> None:
    """Create all instruments on `meter`, including those of the selected `profiles` in `gen_ai.METRICS`.

    From now on, the aggregator's observations are recorded in its histograms.
    """
    for metric, count in _counters(aggregator).items():
        make = (
            meter.create_observable_up_down_counter
            if metric.kind == "updowncounter"
            else meter.create_observable_counter
        )
        make(metric.name, [_callback(metric, count, aggregator)], metric.unit, metric.description)
    for metric, gauge in gauges.items():
        meter.create_observable_gauge(metric.name, [_gauge_callback(gauge)], metric.unit, metric.description)
    aggregator.observe = _observer(meter, profiles)


def _observer(meter: Meter, profiles: frozenset[str]) -> Observe:
    own = Histograms(meter).observe
    if not profiles:
        return own
    conventions = GenAiMetrics(meter, profiles).observe

    def observe(series: Labels, call: Call) -> None:
        own(series, call)
        conventions(series, call)

    return observe


class Histograms:
    """The histograms; OpenTelemetry has no observable form of them."""

    def __init__(self, meter: Meter) -> None:
        self._duration = _Histogram(meter, metrics.DURATION)
        self._first_token = _Histogram(meter, metrics.FIRST_TOKEN)
        self._output_token = _Histogram(meter, metrics.OUTPUT_TOKEN)
        self._stream_duration = _Histogram(meter, metrics.STREAM_DURATION)

    def observe(self, series: Labels, call: Call) -> None:
        """Record the times of one call in its context, so that its span becomes an exemplar."""
        if call.outcome == PART:
            return
        duration_s = _seconds(call.started_ns, call.ended_ns)
        context = call.context
        models = (series.model, series.requested)
        self._duration.record(duration_s, (series.route, *models, _status_class(series.status)), context)
        if series.stream is None:
            return
        self._stream_duration.record(duration_s, (series.route, series.stream), context)
        if not call.first_byte_ns:
            return
        who = (*models, series.provider)
        self._first_token.record(_seconds(call.started_ns, call.first_byte_ns), who, context)
        tokens = (call.usage.output_tokens or 0) if call.usage else 0
        if tokens > 1:
            rest_s = _seconds(call.first_byte_ns, call.ended_ns)
            self._output_token.record(rest_s / (tokens - 1), who, context)


class _Histogram:
    def __init__(self, meter: Meter, metric: Metric) -> None:
        self._metric = metric
        self._record = meter.create_histogram(
            metric.name, metric.unit, metric.description, explicit_bucket_boundaries_advisory=metric.buckets
        ).record
        self._attributes: dict[tuple[Any, ...], dict[str, Any]] = {}  # bounded, because the series are

    def record(self, value_s: float, values: tuple[Any, ...], context: Any) -> None:
        attributes = self._attributes.get(values)
        if attributes is None:
            attributes = self._attributes[values] = _attributes(self._metric, values)
        self._record(value_s, attributes, context)


def _counters(aggregator: Aggregator) -> dict[Metric, Callable[[], Counts]]:
    def by(metric: Metric, read: Callable[[Counters], int]) -> Callable[[], Counts]:
        return lambda: _sum(aggregator.cells(), metric, read)

    return {
        metrics.REQUESTS: by(metrics.REQUESTS, _requests),
        metrics.ACTIVE: lambda: _by_name(aggregator.active()),
        metrics.STREAM_ACTIVE: lambda: _by_name(aggregator.streams()),
        metrics.STREAM_MESSAGES: by(metrics.STREAM_MESSAGES, lambda cell: cell.messages),
        metrics.REQUEST_SIZE: by(metrics.REQUEST_SIZE, lambda cell: cell.request_bytes),
        metrics.RESPONSE_SIZE: by(metrics.RESPONSE_SIZE, lambda cell: cell.response_bytes),
        metrics.TOKENS: lambda: _tokens(aggregator.cells()),
        metrics.TOKENS_DETAIL: lambda: _tokens_detail(aggregator.cells()),
        metrics.COST: lambda: _cost(aggregator.cells()),
        metrics.COST_MISSING: by(metrics.COST_MISSING, lambda cell: cell.unpriced),
        metrics.DECISIONS: by(metrics.DECISIONS, _requests),
        metrics.USAGE_MISSING: by(metrics.USAGE_MISSING, lambda cell: cell.requests if cell.series.missing else 0),
        metrics.EVENTS_DROPPED: lambda: _by_name(aggregator.drops()),
        metrics.TAGS_DROPPED: lambda: _by_name(aggregator.tag_drops()),
        metrics.SERIES_FOLDED: lambda: _by_name(aggregator.folded()),
        metrics.FAULTS: lambda: _by_name(aggregator.faults()),
    }


def _requests(cell: Counters) -> int:
    return cell.requests


def _sum(cells: Iterable[Counters], metric: Metric, read: Callable[[Counters], int], *own: str) -> Counts:
    """Sum the cells by the attributes of `metric`; `own` are the values of attributes that are not labels."""
    fields = [Labels._fields.index(_FIELDS[name]) for name in metric.attributes if name in _FIELDS]
    counts: dict[tuple[Any, ...], int] = {}
    for cell in cells:
        if value := read(cell):
            series = cell.series
            values = (*[series[field] for field in fields], *own)
            counts[values] = counts.get(values, 0) + value
    return counts


def _tokens(cells: list[Counters]) -> Counts:
    return {
        **_sum(cells, metrics.TOKENS, lambda cell: cell.input_tokens, "input"),
        **_sum(cells, metrics.TOKENS, lambda cell: cell.output_tokens, "output"),
    }


def _tokens_detail(cells: list[Counters]) -> Counts:
    return {
        **_sum(cells, metrics.TOKENS_DETAIL, lambda cell: cell.cache_read_tokens, "cache_read"),
        **_sum(cells, metrics.TOKENS_DETAIL, lambda cell: cell.cache_write_tokens, "cache_write"),
        **_sum(cells, metrics.TOKENS_DETAIL, lambda cell: cell.reasoning_tokens, "reasoning"),
    }


def _cost(cells: list[Counters]) -> Counts:
    """Convert integer nano-USD to dollars as the last step, so that sums are exact."""
    nanousd = _sum(cells, metrics.COST, lambda cell: cell.cost_nanousd)
    return {values: cost / _NANOUSD_PER_USD for values, cost in nanousd.items()}


def _by_name(counts: Mapping[Any, int]) -> Counts:
    return {(name,): count for name, count in counts.items()}


def _callback(
    metric: Metric, count: Callable[[], Counts], aggregator: Aggregator
) -> Callable[[CallbackOptions], Iterable[Observation]]:
    """Observe all series; a counter series that appears after the first collection starts with a 0.

    Prometheus only sees increases between two samples: without the 0 it would miss a series' initial value. With two
    readers in one process, or two scrapers of one page, one of them may still miss it.
    """
    known: set[tuple[Any, ...]] | None = None

    def observe(_options: CallbackOptions) -> Iterable[Observation]:
        nonlocal known
        counts = count()
        collected, known = known, set(counts)
        if metric.kind != "counter" or collected is None or aggregator.is_ending:
            collected = known
        for number, (values, value) in enumerate(counts.items(), 1):
            is_new = values not in collected
            yield Observation(0 if is_new else value, _attributes(metric, values))
            if number % GIVE_WAY == 0:
                time.sleep(0)

    return observe


def _gauge_callback(gauge: Gauge) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe(_options: CallbackOptions) -> Iterable[Observation]:
        value = gauge()
        return [] if value is None else [Observation(value)]

    return observe


def _attributes(metric: Metric, values: tuple[Any, ...]) -> dict[str, Any]:
    """Return the values by attribute name, without missing ones."""
    pairs = zip(metric.attributes, values, strict=True)
    return {name: value for name, value in pairs if value is not None and value != NO_STATUS}


def _status_class(status: int) -> str | None:
    return None if status == NO_STATUS else f"{status // 100}xx"


def _seconds(start_ns: int, end_ns: int) -> float:
    return max(0, end_ns - start_ns) / _NS_PER_S
