"""The metric registry: all names, units, attributes and buckets, for code, dashboards, alerts and docs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "updowncounter", "gauge", "histogram"]

KEY = "keygauge.key.id"
ROUTE = "http.route"
MODEL = "gen_ai.response.model"  # the model a call counts for: named by its answer, or else by its request
REQUESTED_MODEL = "gen_ai.request.model"  # named by its request
METHOD = "http.request.method"
STATUS = "http.response.status_code"
STATUS_CLASS = "keygauge.status.class"  # 2xx, 3xx, 4xx, 5xx
ERROR = "error.type"
PROVIDER = "gen_ai.provider.name"
TOKEN_TYPE = "gen_ai.token.type"  # input, output  # noqa: S105 - an attribute's name
SUBSET = "keygauge.token.subset"  # cache_read, cache_write, reasoning
LIMIT = "keygauge.limit.name"
OUTCOME = "keygauge.outcome"
STREAM = "keygauge.stream.kind"  # sse, ndjson, eventstream, websocket
REASON = "keygauge.reason"

DURATION_BUCKETS_S = (
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0),
)
# These two are from OpenTelemetry's generative AI conventions.
FIRST_TOKEN_BUCKETS_S = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
OUTPUT_TOKEN_BUCKETS_S = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)


@dataclass(frozen=True)
class Metric:
    """One instrument: OpenTelemetry name, kind, unit (UCUM), attributes, description, and buckets."""

    name: str
    kind: Kind
    unit: str
    attributes: tuple[str, ...]
    description: str
    buckets: tuple[float, ...] = ()

    @property
    def prometheus_name(self) -> str:
        """Return the series name of the default OpenTelemetry to Prometheus translation."""
        name = self.name.replace(".", "_")
        if suffix := _UNIT_SUFFIX.get(self.unit, ""):
            name += f"_{suffix}"
        return f"{name}_total" if self.kind == "counter" else name


def label(attribute: str) -> str:
    """Return an attribute's label name in Prometheus."""
    return attribute.replace(".", "_")


_UNIT_SUFFIX = {"s": "seconds", "By": "bytes"}  # units in braces are annotations and add no suffix
_MODELS = (MODEL, REQUESTED_MODEL)
_BASE = (KEY, ROUTE, *_MODELS)

REQUESTS = Metric("keygauge.requests", "counter", "{request}", (*_BASE, METHOD, STATUS, ERROR), "Requests answered")
DURATION = Metric(
    "keygauge.request.duration",
    "histogram",
    "s",
    (ROUTE, *_MODELS, STATUS_CLASS),
    "Time from the request's arrival to the last byte of its answer",
    DURATION_BUCKETS_S,
)
FIRST_TOKEN = Metric(
    "keygauge.time_to_first_token",
    "histogram",
    "s",
    (*_MODELS, PROVIDER),
    "Time to the first body byte of a streamed answer",
    FIRST_TOKEN_BUCKETS_S,
)
OUTPUT_TOKEN = Metric(
    "keygauge.time_per_output_token",
    "histogram",
    "s",
    (*_MODELS, PROVIDER),
    "Time per output token after the first of a streamed answer",
    OUTPUT_TOKEN_BUCKETS_S,
)
ACTIVE = Metric("keygauge.request.active", "updowncounter", "{request}", (METHOD,), "Requests being answered")
STREAM_ACTIVE = Metric("keygauge.stream.active", "updowncounter", "{stream}", (STREAM,), "Streams open")
STREAM_MESSAGES = Metric(
    "keygauge.stream.messages", "counter", "{message}", (*_BASE, STREAM), "Messages sent on streams"
)
STREAM_DURATION = Metric(
    "keygauge.stream.duration", "histogram", "s", (ROUTE, STREAM), "Time a stream was open", DURATION_BUCKETS_S
)
REQUEST_SIZE = Metric("keygauge.request.size", "counter", "By", _BASE, "Bytes of request bodies received")
RESPONSE_SIZE = Metric("keygauge.response.size", "counter", "By", _BASE, "Bytes of answer bodies sent")
TOKENS = Metric("keygauge.tokens", "counter", "{token}", (*_BASE, PROVIDER, TOKEN_TYPE), "Tokens used")
TOKENS_DETAIL = Metric(
    "keygauge.tokens.detail", "counter", "{token}", (*_BASE, SUBSET), "Tokens by subset; already inside keygauge.tokens"
)
COST = Metric("keygauge.cost", "counter", "{USD}", _BASE, "Cost of the tokens used, in US dollars")
COST_MISSING = Metric(
    "keygauge.cost.missing",
    "counter",
    "{request}",
    (ROUTE, *_MODELS),
    "Requests under a limit of cost whose model has no price: what they reserved stays charged",
)
DECISIONS = Metric("keygauge.decisions", "counter", "{request}", (KEY, LIMIT, OUTCOME), "Requests admitted or refused")
USAGE_MISSING = Metric(
    "keygauge.usage.missing", "counter", "{response}", (ROUTE, REASON), "Answers whose token usage could not be read"
)
BEAT_AGE = Metric("keygauge.beat.age", "gauge", "s", (), "Time since the key service last answered a heartbeat")
SPOOL_EVENTS = Metric("keygauge.spool.events", "gauge", "{event}", (), "Events not yet in the ledger")
SPOOL_AGE = Metric("keygauge.spool.age", "gauge", "s", (), "Age of the oldest event not yet in the ledger")
EVENTS_DROPPED = Metric("keygauge.events.dropped", "counter", "{event}", (REASON,), "Events lost, by reason")
TAGS_DROPPED = Metric(
    "keygauge.tags.dropped",
    "counter",
    "{request}",
    (REASON,),
    "Requests whose end user was named and not taken, by reason",
)
SERIES_FOLDED = Metric("keygauge.series.folded", "counter", "{request}", (REASON,), "Requests counted under 'other'")
FAULTS = Metric("keygauge.faults", "counter", "{fault}", (REASON,), "KeyGauge's own failures, kept from the host")

ALL: tuple[Metric, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
