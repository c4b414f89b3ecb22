"""The optional generative AI conventions, compared with their registries."""

from dataclasses import dataclass

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import set_span_in_context

from keygauge.call import Call
from keygauge.settings import conventions
from keygauge.settings.conventions import GEN_AI, LATEST
from keygauge.settings.settings import Settings, SettingsError
from keygauge.telemetry import gen_ai, tracing
from keygauge.telemetry.aggregator import Aggregator
from keygauge.telemetry.instruments import instrument
from keygauge.usage import Usage

SECOND_NS = 1_000_000_000
WHO = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai"}
MODELS = {"gen_ai.request.model": "alias", "gen_ai.response.model": "snapshot"}


@dataclass(frozen=True)
class Registered:
    """A metric as registered by a convention."""

    kind: str
    unit: str
    required: frozenset
    buckets: tuple = ()
    optional: frozenset = frozenset({"gen_ai.request.model", "gen_ai.response.model"})


REQUIRED = frozenset(WHO)
TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)
SERVER = {
    "gen_ai.server.request.duration": Registered(
        "histogram",
        "s",
        REQUIRED,
        (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92),
        frozenset({"gen_ai.request.model", "gen_ai.response.model", "error.type"}),
    ),
    "gen_ai.server.time_to_first_token": Registered(
        "histogram",
        "s",
        REQUIRED,
        (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
    ),
    "gen_ai.server.time_per_output_token": Registered(
        "histogram",
        "s",
        REQUIRED,
        (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5),
    ),
}
BY_KIND = ("input_tokens", "output_tokens", "cache_read.input_tokens", "cache_write.input_tokens")
REGISTRY = {
    GEN_AI: {
        **SERVER,
        "gen_ai.client.token.usage": Registered("histogram", "{token}", REQUIRED | {"gen_ai.token.type"}, TOKENS),
    },
    LATEST: {
        **SERVER,
        **{
            f"gen_ai.client.inference.usage.{kind}": Registered(
                "counter", "{token}", REQUIRED | {"gen_ai.token.modality"}
            )
            for kind in (*BY_KIND, "reasoning.output_tokens")
        },
        **{
            f"gen_ai.client.inference.operation.{side}_tokens": Registered("histogram", "{token}", REQUIRED, TOKENS)
            for side in ("input", "output")
        },
    },
}
VALUES = {  # the well-known ones
    "gen_ai.operation.name": {"chat", "embeddings", "generate_content", "text_completion"},
    "gen_ai.token.type": {"input", "output"},
    "gen_ai.token.modality": {"text", "audio", "image", "unknown"},
}
SPAN_ATTRIBUTES = {
    GEN_AI: {
        *("gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model", "gen_ai.response.model"),
        *("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", "gen_ai.usage.cache_read.input_tokens"),
        *("gen_ai.usage.cache_creation.input_tokens", "gen_ai.usage.reasoning.output_tokens"),
    },
}
SPAN_ATTRIBUTES[LATEST] = SPAN_ATTRIBUTES[GEN_AI] - {"gen_ai.usage.cache_creation.input_tokens"} | {
    "gen_ai.usage.cache_write.input_tokens"
}
CHOICES = {"1.41": {GEN_AI}, "latest": {LATEST}, "side by side": {GEN_AI, LATEST}}


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.delenv("KEYGAUGE_SEMCONV", raising=False)
    monkeypatch.delenv("OTEL_SEMCONV_STABILITY_OPT_IN", raising=False)
    conventions.chosen.cache_clear()
    yield monkeypatch
    conventions.chosen.cache_clear()


def make_call(**fields):
    call = Call(method="POST", ip=None, time_ns=0, started_ns=SECOND_NS, **fields)
    call.key, call.route = call.key or "k1", "/v1/chat/completions"
    call.ended_ns = call.ended_ns or 3 * SECOND_NS
    return call


def stream_call(**fields):
    usage = Usage(100, 11, 60, 7, 5, {"input_audio": 20, "cache_read_audio": 10, "output_image": 4})
    who = {"model": "snapshot", "requested_model": "alias", "provider": "openai", "stream": "sse", "status": 200}
    return make_call(**{**who, "usage": usage, "first_byte_ns": 2 * SECOND_NS, **fields})


def read(profiles, *calls):
    """Return {metric name: (the SDK's metric, its points)} of the metrics other than `keygauge.*`."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    aggregator = Aggregator(max_models=5)
    instrument(provider.get_meter("keygauge"), aggregator, gauges={}, profiles=frozenset(profiles))
    for call in calls:
        aggregator.record(call)
    data = reader.get_metrics_data()
    found = data.resource_metrics[0].scope_metrics[0].metrics
    return {
        metric.name: (metric, list(metric.data.data_points))
        for metric in found
        if not metric.name.startswith("keygauge.")
    }


@pytest.mark.parametrize("profiles", CHOICES.values(), ids=CHOICES)
def test_metrics_match_the_registry(profiles):
    found = read(profiles, stream_call(), stream_call(status=503, error="503"))
    registered = {name: told for profile in profiles for name, told in REGISTRY[profile].items()}
    assert found.keys() == registered.keys()
    for name, told in registered.items():
        metric, points = found[name]
        assert metric.unit == told.unit
        assert hasattr(points[0], "bucket_counts") == (told.kind == "histogram")
        if told.kind == "histogram":
            assert points[0].explicit_bounds == told.buckets
        else:
            assert metric.data.is_monotonic
        for point in points:
            assert told.required <= point.attributes.keys() <= told.required | told.optional
            for attribute, known in VALUES.items():
                assert point.attributes.get(attribute, next(iter(known))) in known


def test_nothing_is_exported_by_default():
    assert read((), stream_call()) == {}
    assert conventions.chosen() == frozenset()


def values(found, name):
    return {tuple(sorted(point.attributes.items())): point.value for point in found[name][1]}


def test_tokens_are_counted_by_kind_and_modality():
    found = read({LATEST}, stream_call())
    prefix = "gen_ai.client.inference.usage."
    counted = {
        (name.removeprefix(prefix), point.attributes["gen_ai.token.modality"]): point.value
        for name, (_, points) in found.items()
        if name.startswith(prefix)
        for point in points
    }
    assert counted == {
        ("input_tokens", "audio"): 30,
        ("input_tokens", "unknown"): 70,
        ("output_tokens", "image"): 4,
        ("output_tokens", "unknown"): 7,
        ("cache_read.input_tokens", "audio"): 10,
        ("cache_read.input_tokens", "unknown"): 50,
        ("cache_write.input_tokens", "unknown"): 7,
        ("reasoning.output_tokens", "unknown"): 5,
    }


def test_tokens_are_observed_by_type():
    _, points = read({GEN_AI}, stream_call())["gen_ai.client.token.usage"]
    assert {point.attributes["gen_ai.token.type"]: point.sum for point in points} == {"input": 100, "output": 11}


def test_failed_call_reports_its_error_and_requested_model():
    refused = make_call(requested_model="alias", model=None, status=429, error="rate_limited")
    answered = make_call(requested_model="alias", model="alias", is_model_assumed=True, status=400)
    found = read({GEN_AI, LATEST}, refused, answered)
    points = found["gen_ai.server.request.duration"][1]
    assert {point.attributes["error.type"] for point in points} == {"rate_limited", "400"}
    for point in points:
        assert point.attributes["gen_ai.request.model"] == "alias"
        assert "gen_ai.response.model" not in point.attributes
    assert set(values(found, "gen_ai.client.inference.usage.input_tokens").values()) == {0}
    assert "gen_ai.server.time_to_first_token" not in found


def test_call_without_a_model_is_not_reported():
    assert read({GEN_AI, LATEST}, make_call(status=200)) == {}


def test_made_up_model_names_fold():
    calls = [make_call(requested_model=f"made-up-{number}", status=404) for number in range(1000)]
    points = read({GEN_AI}, *calls)["gen_ai.server.request.duration"][1]
    assert len(points) == 3
    assert sum(point.count for point in points) == 1000


@pytest.mark.parametrize(
    ("route", "name"),
    [
        ("/v1/chat/completions", "chat"),
        ("/v1/messages", "chat"),
        ("/v1/responses", "chat"),
        ("/ask", "chat"),
        ("/v1/completions", "text_completion"),
        ("/api/generate", "text_completion"),
        ("/v1/embeddings", "embeddings"),
        ("/api/embed", "embeddings"),
        ("/v1beta/models/{model}:embedContent", "embeddings"),
        ("/v1beta/models/{model}:generateContent", "generate_content"),
        ("/v1beta/models/{model}:streamGenerateContent", "generate_content"),
        ("/v1/images/generations", "generate_content"),
        ("/v1/audio/speech", "generate_content"),
        ("/v1/rerank", "rerank"),
    ],
)
def test_operation_is_derived_from_the_route(route, name):
    assert gen_ai.operation(route) == name


@pytest.mark.parametrize("profiles", CHOICES.values(), ids=CHOICES)
def test_span_attributes_match_the_registry(environment, profiles):
    environment.setenv("KEYGAUGE_SEMCONV", ",".join(profiles))
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with provider.get_tracer("test").start_as_current_span("request") as span:
        tracing.describe(stream_call(context=set_span_in_context(span)))
    (told,) = exporter.get_finished_spans()
    expected = set().union(*(SPAN_ATTRIBUTES[profile] for profile in profiles))
    assert {name for name in told.attributes if name.startswith("gen_ai.")} == expected
    assert told.attributes.items() >= {**WHO, **MODELS}.items()


@pytest.mark.parametrize(
    ("own", "opted_in", "profiles"),
    [
        (None, None, set()),
        ("", "", set()),
        ("none", "gen_ai_latest_experimental", set()),
        ("gen_ai", None, {GEN_AI}),
        ("gen_ai_latest", None, {LATEST}),
        (" GEN_AI , gen_ai_latest", "gen_ai", {GEN_AI, LATEST}),
        (None, "http,gen_ai_latest_experimental", {LATEST}),
        (None, "gen_ai", {GEN_AI}),
        (None, "http/dup, gen_ai/dup", {GEN_AI, LATEST}),
        (None, "http,database", set()),
    ],
)
def test_environment_selects_the_profiles(environment, own, opted_in, profiles):
    for name, value in (("KEYGAUGE_SEMCONV", own), ("OTEL_SEMCONV_STABILITY_OPT_IN", opted_in)):
        if value is not None:
            environment.setenv(name, value)
    assert conventions.chosen() == profiles


def test_unknown_profile_is_rejected(environment):
    environment.setenv("KEYGAUGE_SEMCONV", "gen_ai,gen-ai")
    with pytest.raises(SettingsError, match="KEYGAUGE_SEMCONV has 'gen-ai': use none, gen_ai, gen_ai_latest"):
        Settings.from_environment(mode="observe")
