"""The aggregator's metrics as an OpenTelemetry reader sees them."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import set_span_in_context

from keygauge import metrics
from keygauge.call import Call
from keygauge.telemetry.aggregator import HOST_SERIES, Aggregator
from keygauge.telemetry.instruments import instrument
from keygauge.usage import Usage

GAUGES = {metrics.BEAT_AGE: lambda: 1.5, metrics.SPOOL_EVENTS: lambda: 3, metrics.SPOOL_AGE: lambda: None}
SECOND_NS = 1_000_000_000


class Telemetry:
    def __init__(self, **options):
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader], shutdown_on_exit=False)
        self.aggregator = Aggregator(**options)
        instrument(self.provider.get_meter("keygauge"), self.aggregator, gauges=GAUGES)

    def record(self, *calls):
        for call in calls:
            self.aggregator.started(call)
            self.aggregator.record(call)

    def read(self):
        """Return {metric name: (the SDK's metric, its points)}."""
        data = self.reader.get_metrics_data()
        found = data.resource_metrics[0].scope_metrics[0].metrics
        return {metric.name: (metric, metric.data.data_points) for metric in found}

    def values(self, metric):
        """Return {attributes: value}, attributes as sorted pairs."""
        points = self.read().get(metric.name, (None, []))[1]
        return {tuple(sorted(point.attributes.items())): point.value for point in points}


def make_call(**fields):
    call = Call(method=fields.pop("method", "POST"), ip=None, time_ns=0, started_ns=SECOND_NS)
    fields = {"key": "k1", "route": "/v1/chat", "status": 200, "ended_ns": 2 * SECOND_NS} | fields
    for name, value in fields.items():
        setattr(call, name, value)
    return call


def stream_call(**fields):
    usage = Usage(100, 11, 60, 7, 5)
    times = {"first_byte_ns": SECOND_NS + SECOND_NS // 2, "ended_ns": 3 * SECOND_NS + SECOND_NS // 2}
    who = {"model": "m1", "requested_model": "r1", "provider": "p1", "stream": "sse", "messages": 12}
    return make_call(**who, **times, usage=usage, **fields)


@pytest.fixture
def telemetry():
    return Telemetry()


def test_every_metric_matches_the_registry_in_kind_unit_and_attributes(telemetry):
    def charge(cell, _call, _usage):
        telemetry.aggregator.add_cost(cell, 1)
        telemetry.aggregator.add_unpriced(cell)

    telemetry.aggregator.charge = charge
    telemetry.record(stream_call(missing="x", error="E", limit="rpm", request_bytes=1, response_bytes=1))
    telemetry.aggregator.fault("x")
    telemetry.aggregator.dropped("spool_full", 1)
    telemetry.aggregator.tag_dropped("too_long")
    telemetry.record(make_call(status=99))
    seen = telemetry.read()
    expected = {metric.name for metric in metrics.ALL} - {metrics.SPOOL_AGE.name}
    assert set(seen) == expected
    for metric in metrics.ALL:
        if metric.name not in expected:
            continue
        sdk_metric, points = seen[metric.name]
        assert (sdk_metric.unit, sdk_metric.description) == (metric.unit, metric.description)
        assert {name for point in points for name in point.attributes} == set(metric.attributes)
        if metric.kind == "histogram":
            assert points[0].explicit_bounds == metric.buckets
        elif metric.kind != "gauge":
            assert sdk_metric.data.is_monotonic == (metric.kind == "counter")


def test_absent_attributes_are_omitted(telemetry):
    telemetry.record(make_call(status=0))
    base = (("http.request.method", "POST"), ("http.route", "/v1/chat"), ("keygauge.key.id", "k1"))
    assert telemetry.values(metrics.REQUESTS) == {base: 1}
    (point,) = telemetry.read()[metrics.DURATION.name][1]
    assert dict(point.attributes) == {"http.route": "/v1/chat"}


def test_late_series_starts_at_0(telemetry):
    """So that `increase`, which compares two samples, includes a new key's first calls."""
    telemetry.record(make_call())
    assert _by_key(telemetry) == {"k1": 1}
    telemetry.record(*[make_call(key="new")] * 50, make_call())
    assert _by_key(telemetry) == {"k1": 2, "new": 0}
    assert _by_key(telemetry) == {"k1": 2, "new": 50}


def test_last_collection_reports_late_series_in_full(telemetry):
    telemetry.record(make_call())
    telemetry.read()
    telemetry.record(*[make_call(key="new")] * 50)
    telemetry.aggregator.is_ending = True
    assert _by_key(telemetry) == {"k1": 1, "new": 50}


def test_increases_add_up_while_keys_are_replaced():
    """Neither a series nor the sum of all ever decreases."""
    telemetry = Telemetry(max_keys=3)
    telemetry.record(make_call(key="first"))
    before, increases = _by_key(telemetry), 0

    def collect():
        nonlocal before, increases
        now = _by_key(telemetry)
        assert now.keys() >= before.keys()
        assert all(now[key] >= before[key] for key in before)
        increases += sum(now[key] - before.get(key, now[key]) for key in now)
        before = now

    for turn in range(12):
        names = [f"{turn // 2}-{number}" for number in range(3)]
        for part in range(3):
            telemetry.record(*(make_call(key=name) for name in names for _ in range(20 + part)))
            if part == 1:
                telemetry.aggregator.turn()
            if turn < 11 or part < 2:
                collect()
    for _ in range(2):
        collect()
    assert increases == 12 * 3 * (20 + 21 + 22)
    assert len(before) > 10


def _by_key(telemetry):
    return {dict(pairs)[metrics.KEY]: value for pairs, value in telemetry.values(metrics.REQUESTS).items()}


def test_tokens_are_reported_by_type_and_subset(telemetry):
    telemetry.record(stream_call(), stream_call())
    tokens = {dict(pairs)[metrics.TOKEN_TYPE]: value for pairs, value in telemetry.values(metrics.TOKENS).items()}
    assert tokens == {"input": 200, "output": 22}
    detail = {dict(pairs)[metrics.SUBSET]: value for pairs, value in telemetry.values(metrics.TOKENS_DETAIL).items()}
    assert detail == {"cache_read": 120, "cache_write": 14, "reasoning": 10}


def test_cost_is_reported_in_dollars_by_key_route_and_model(telemetry):
    telemetry.aggregator.charge = lambda cell, _call, usage: telemetry.aggregator.add_cost(cell, usage.input_tokens)
    telemetry.record(*[make_call(model="m1", usage=Usage(1, 0)) for _ in range(3)], make_call())
    labels = (("gen_ai.response.model", "m1"), ("http.route", "/v1/chat"), ("keygauge.key.id", "k1"))
    assert telemetry.values(metrics.COST) == {labels: 3e-9}


def test_stream_times_are_observed(telemetry):
    telemetry.record(stream_call())
    seen = telemetry.read()
    sums = {name: points[0].sum for name, (metric, points) in seen.items() if hasattr(points[0], "sum")}
    assert sums == {
        metrics.DURATION.name: 2.5,
        metrics.STREAM_DURATION.name: 2.5,
        metrics.FIRST_TOKEN.name: 0.5,
        metrics.OUTPUT_TOKEN.name: 0.2,  # 2 s for the ten tokens after the first
    }
    (point,) = seen[metrics.FIRST_TOKEN.name][1]
    assert dict(point.attributes) == {
        metrics.MODEL: "m1",
        metrics.REQUESTED_MODEL: "r1",
        metrics.PROVIDER: "p1",
    }


def test_plain_answer_and_empty_stream_have_no_token_times(telemetry):
    telemetry.record(make_call(first_byte_ns=SECOND_NS + 1, usage=Usage(1, 50)), make_call(stream="websocket"))
    seen = telemetry.read()
    assert metrics.FIRST_TOKEN.name not in seen
    assert metrics.OUTPUT_TOKEN.name not in seen
    assert seen[metrics.STREAM_DURATION.name][1][0].count == 1


def test_call_without_an_end_has_a_duration_of_0(telemetry):
    telemetry.record(make_call(ended_ns=0))
    assert telemetry.read()[metrics.DURATION.name][1][0].sum == 0


def test_a_part_of_a_call_counts_tokens_and_no_request(telemetry):
    part = make_call(usage=Usage(10, 5))
    part.outcome = "part"
    telemetry.record(make_call(usage=Usage(100, 50)), part)
    assert sum(telemetry.values(metrics.TOKENS).values()) == 165
    assert sum(telemetry.values(metrics.REQUESTS).values()) == sum(telemetry.values(metrics.DECISIONS).values()) == 1
    assert telemetry.read()[metrics.DURATION.name][1][0].count == 1


def test_gauge_without_a_value_is_omitted(telemetry):
    seen = telemetry.read()
    assert seen[metrics.BEAT_AGE.name][1][0].value == 1.5
    assert metrics.SPOOL_AGE.name not in seen


def test_decisions_are_reported_by_limit_and_outcome(telemetry):
    telemetry.record(make_call(), make_call(status=429, outcome="limited", limit="rpm"))
    assert telemetry.values(metrics.DECISIONS) == {
        (("keygauge.key.id", "k1"), ("keygauge.outcome", "admitted")): 1,
        (("keygauge.key.id", "k1"), ("keygauge.limit.name", "rpm"), ("keygauge.outcome", "limited")): 1,
    }


def test_answers_without_usage_are_reported_by_reason(telemetry):
    telemetry.record(make_call(missing="too_large"), make_call())
    pairs = (("http.route", "/v1/chat"), ("keygauge.reason", "too_large"))
    assert telemetry.values(metrics.USAGE_MISSING) == {pairs: 1}


def test_active_requests_and_streams_are_reported(telemetry):
    telemetry.aggregator.started(make_call(method="GET", stream="sse"))
    assert telemetry.values(metrics.ACTIVE)[(("http.request.method", "GET"),)] == 1
    assert telemetry.values(metrics.STREAM_ACTIVE)[(("keygauge.stream.kind", "sse"),)] == 1


def test_current_span_becomes_the_exemplar_of_a_later_observation(telemetry):
    with TracerProvider(shutdown_on_exit=False).get_tracer("test").start_as_current_span("request") as span:
        telemetry.record(make_call(context=set_span_in_context(span)))
    (exemplar,) = telemetry.read()[metrics.DURATION.name][1][0].exemplars
    assert exemplar.trace_id == span.get_span_context().trace_id


def test_host_sdk_never_folds_series_into_its_overflow():
    telemetry = Telemetry(max_keys=10**6, max_routes=10**6, max_models=10**6, max_series=HOST_SERIES)
    usage = Usage(10, 5, 3, 2, 1)
    calls = [
        make_call(key=f"k{number}", route=f"/{number % 700}", model=f"m{number % 900}", provider="p", usage=usage)
        for number in range(4000)
    ]
    calls += [stream_call(key=f"k{number}", status=400 + number % 100, error=f"E{number}") for number in range(4000)]
    telemetry.record(*calls)
    seen = telemetry.read()
    for _metric, points in seen.values():
        assert len(points) <= HOST_SERIES
        assert not any("otel.metric.overflow" in point.attributes for point in points)
    assert sum(point.value for point in seen[metrics.REQUESTS.name][1]) == 8000
    assert sum(point.count for point in seen[metrics.DURATION.name][1]) == 8000
    assert sum(point.value for point in seen[metrics.TOKENS.name][1]) == 4000 * 15 + 4000 * 111


def test_counters_never_decrease(telemetry):
    before = {}
    for number in range(30):
        telemetry.record(make_call(key=f"k{number % 7}", usage=Usage(number, 1), request_bytes=number))
        for metric in (metrics.REQUESTS, metrics.TOKENS, metrics.REQUEST_SIZE):
            now = telemetry.values(metric)
            assert all(now[pairs] >= value for pairs, value in before.get(metric, {}).items())
            before[metric] = now


calls = st.builds(
    make_call,
    key=st.sampled_from(["a", "b", "c", "anonymous", "invalid"]),
    route=st.sampled_from(["/1", "/2", "/3"]),
    model=st.sampled_from([None, "m1", "m2", "m3"]),
    status=st.sampled_from([0, 200, 429, 500]),
    stream=st.sampled_from([None, "sse"]),
    request_bytes=st.integers(0, 10**6),
    usage=st.one_of(st.none(), st.builds(Usage, st.integers(0, 10**6), st.one_of(st.none(), st.integers(0, 10**6)))),
)


@settings(max_examples=30, deadline=None)
@given(st.lists(calls, max_size=20))
def test_sums_over_series_are_sums_over_calls(made):
    telemetry = Telemetry(max_keys=2, max_routes=2, max_models=2)
    telemetry.record(*made)
    sums = Counter()
    for metric in (metrics.REQUESTS, metrics.DECISIONS, metrics.REQUEST_SIZE, metrics.TOKENS):
        sums[metric] = sum(telemetry.values(metric).values())
    assert sums[metrics.REQUESTS] == sums[metrics.DECISIONS] == len(made)
    assert sums[metrics.REQUEST_SIZE] == sum(call.request_bytes for call in made)
    told = [call.usage for call in made if call.usage]
    assert sums[metrics.TOKENS] == sum(usage.input_tokens + (usage.output_tokens or 0) for usage in told)
    assert sum(point.count for point in telemetry.read().get(metrics.DURATION.name, (None, []))[1]) == len(made)
