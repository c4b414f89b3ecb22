"""Metrics and span attributes of OpenTelemetry's generative AI conventions, in addition to `keygauge.*`.

The environment selects profiles: `gen_ai` is semantic-conventions 1.36 to 1.41; `gen_ai_latest` is their successor,
semantic-conventions-genai, which counts tokens by kind. Both can be selected for a migration; instruments that they
share are recorded once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from opentelemetry.metrics import Meter

from keygauge import metrics
from keygauge.call import PART, Call
from keygauge.clock import SECOND
from keygauge.metrics import Metric
from keygauge.settings.conventions import GEN_AI, LATEST
from keygauge.telemetry.labels import OTHER_METHOD, Labels
from keygauge.usage import Usage

OPERATION: Final = "gen_ai.operation.name"
MODALITY: Final = "gen_ai.token.modality"
_UNKNOWN: Final = "unknown"  # a modality

_REFUSED: Final = 400
_OPERATIONS = (  # by route pattern; anything else is "chat"
    (re.compile(r":(?:batch)?embed\w*|/embed(?:dings?)?$", re.IGNORECASE), "embeddings"),
    (re.compile(r"(?<!/chat)/completions?$|/api/generate$", re.IGNORECASE), "text_completion"),
    (re.compile(r"generateContent$|/(?:images|audio|videos)(?:/|$)", re.IGNORECASE), "generate_content"),
    (re.compile(r"/(?:re)?rank$", re.IGNORECASE), "rerank"),
)

_WHO = (OPERATION, metrics.PROVIDER, metrics.REQUESTED_MODEL, metrics.MODEL)
_TOKEN_BUCKETS = tuple(float(4**power) for power in range(14))
_DURATION_BUCKETS_S = tuple(round(0.01 * 2**power, 2) for power in range(14))

DURATION = Metric(
    "gen_ai.server.request.duration",
    "histogram",
    "s",
    (*_WHO, metrics.ERROR),
    "Time from a request's arrival to the last byte of its answer",
    _DURATION_BUCKETS_S,
)
FIRST_TOKEN = Metric(
    "gen_ai.server.time_to_first_token",
    "histogram",
    "s",
    _WHO,
    "Time to the first token of a streamed answer that went well",
    metrics.FIRST_TOKEN_BUCKETS_S,
)
OUTPUT_TOKEN = Metric(
    "gen_ai.server.time_per_output_token",
    "histogram",
    "s",
    _WHO,
    "Time per output token after the first of a streamed answer that went well",
    metrics.OUTPUT_TOKEN_BUCKETS_S,
)
TOKEN_USAGE = Metric(
    "gen_ai.client.token.usage",
    "histogram",
    "{token}",
    (*_WHO, metrics.TOKEN_TYPE),
    "Tokens of a request, input and output",
    _TOKEN_BUCKETS,
)


def _used(name: str, description: str) -> Metric:
    return Metric(f"gen_ai.client.inference.usage.{name}", "counter", "{token}", (*_WHO, MODALITY), description)


INPUT = _used("input_tokens", "Input tokens used, cached ones included")
OUTPUT = _used("output_tokens", "Output tokens used, reasoning included")
CACHE_READ = _used("cache_read.input_tokens", "Input tokens that a provider's cache served")
CACHE_WRITE = _used("cache_write.input_tokens", "Input tokens written to a provider's cache")
REASONING = _used("reasoning.output_tokens", "Output tokens used for reasoning")
INPUT_EACH, OUTPUT_EACH = (
    Metric(
        f"gen_ai.client.inference.operation.{side}_tokens",
        "histogram",
        "{token}",
        _WHO,
        f"{side.capitalize()} tokens of a request",
        _TOKEN_BUCKETS,
    )
    for side in ("input", "output")
)

_BOTH = (DURATION, FIRST_TOKEN, OUTPUT_TOKEN)
METRICS: Mapping[str, tuple[Metric, ...]] = {
    GEN_AI: (*_BOTH, TOKEN_USAGE),
    LATEST: (*_BOTH, INPUT, OUTPUT, CACHE_READ, CACHE_WRITE, REASONING, INPUT_EACH, OUTPUT_EACH),
}
_PARTS = {  # per counter: the kinds of `keygauge.kinds` with a known modality
    INPUT: {"input_audio": "audio", "cache_read_audio": "audio", "input_image": "image", "cache_read_image": "image"},
    OUTPUT: {"output_audio": "audio", "output_image": "image"},
    CACHE_READ: {"cache_read_audio": "audio", "cache_read_image": "image"},
    CACHE_WRITE: {},
    REASONING: {},
}
_CACHE_WRITE_ATTRIBUTES = {
    GEN_AI: "gen_ai.usage.cache_creation.input_tokens",
    LATEST: "gen_ai.usage.cache_write.input_tokens",
}

Record = Callable[[float, dict[str, Any], Any], None]


class GenAiMetrics:
    """The instruments of the selected profiles; OpenTelemetry records each separately."""

    def __init__(self, meter: Meter, profiles: frozenset[str]) -> None:
        self._record: dict[Metric, Record] = {}
        for metric in dict.fromkeys(metric for profile in sorted(profiles) for metric in METRICS[profile]):
            if metric.kind == "counter":
                self._record[metric] = meter.create_counter(metric.name, metric.unit, metric.description).add
            else:
                self._record[metric] = meter.create_histogram(
                    metric.name, metric.unit, metric.description, explicit_bucket_boundaries_advisory=metric.buckets
                ).record

    def observe(self, series: Labels, call: Call) -> None:
        """Record a model call, using only the names of its series as attributes: their number is bounded."""
        if series.model is None and call.usage is None:
            return
        attributes = _attributes(series, call)
        error = series.error or (str(series.status) if series.status >= _REFUSED else None)
        for metric, value, more in _measure(call, error=error):
            if record := self._record.get(metric):
                record(value, {**attributes, **more}, call.context)


def _attributes(series: Labels, call: Call) -> dict[str, Any]:
    attributes = {
        OPERATION: operation(series.route),
        metrics.PROVIDER: series.provider or OTHER_METHOD,
        metrics.REQUESTED_MODEL: series.requested,
        metrics.MODEL: None if call.is_model_assumed or call.model is None else series.model,
    }
    return {name: value for name, value in attributes.items() if value is not None}


def operation(route: str) -> str:
    """Return the conventions' operation name for a route."""
    return next((name for pattern, name in _OPERATIONS if pattern.search(route)), "chat")


def _measure(call: Call, *, error: str | None) -> Iterator[tuple[Metric, float, dict[str, str]]]:
    if call.outcome != PART:
        yield DURATION, _seconds(call.started_ns, call.ended_ns), {metrics.ERROR: error} if error else {}
    usage = call.usage or Usage()
    if call.stream and call.first_byte_ns and 0 < call.status < _REFUSED:
        yield FIRST_TOKEN, _seconds(call.started_ns, call.first_byte_ns), {}
        if (usage.output_tokens or 0) > 1:
            each_s = _seconds(call.first_byte_ns, call.ended_ns) / ((usage.output_tokens or 0) - 1)
            yield OUTPUT_TOKEN, each_s, {}
    for kind, each, count in (("input", INPUT_EACH, usage.input_tokens), ("output", OUTPUT_EACH, usage.output_tokens)):
        if count is not None:
            yield TOKEN_USAGE, count, {metrics.TOKEN_TYPE: kind}
            yield each, count, {}
    for metric, total in zip(_PARTS, usage[:5], strict=True):
        if total is not None or metric in (INPUT, OUTPUT):  # these two are recorded for every call, even as 0
            yield from _by_modality(metric, total or 0, usage.details or {})


def _by_modality(
    metric: Metric, total: int, details: Mapping[str, int]
) -> Iterator[tuple[Metric, int, dict[str, str]]]:
    """Split a count by modality; the rest counts as unknown."""
    counts: dict[str, int] = {}
    for kind, modality in _PARTS[metric].items():
        if count := min(details.get(kind, 0), total):
            counts[modality] = counts.get(modality, 0) + count
            total -= count
    if total or not counts:
        counts[_UNKNOWN] = total
    for modality, count in counts.items():
        yield metric, count, {MODALITY: modality}


def span_attributes(call: Call, profiles: frozenset[str]) -> dict[str, Any]:
    """Return the additional span attributes of the selected profiles."""
    if call.model is None and call.usage is None:
        return {}
    attributes: dict[str, Any] = {OPERATION: operation(call.route)}
    if call.usage is not None:
        attributes["gen_ai.usage.cache_read.input_tokens"] = call.usage.cache_read_tokens
        attributes["gen_ai.usage.reasoning.output_tokens"] = call.usage.reasoning_tokens
        attributes |= dict.fromkeys(
            (_CACHE_WRITE_ATTRIBUTES[profile] for profile in profiles), call.usage.cache_write_tokens
        )
    return {name: value for name, value in attributes.items() if value is not None}


def _seconds(start_ns: int, end_ns: int) -> float:
    return max(0, end_ns - start_ns) / SECOND
