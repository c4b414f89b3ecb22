"""KeyGauge together with other instrumentations: key and tokens on their one span, its trace in event and exemplar."""

import asyncio
import json
from collections import Counter

import pytest
from fastapi import FastAPI
from flask import Flask, Response
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.wsgi import OpenTelemetryMiddleware as WsgiOpenTelemetryMiddleware
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, get_current_span
from starlette.applications import Starlette
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

CHAT = {
    "object": "chat.completion",
    "model": "gpt-4o-mini",
    "choices": [],
    "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
}
LINES = [f"data: {json.dumps({**CHAT, 'object': 'chat.completion.chunk'})}\n\n", "data: [DONE]\n\n"]
SSE = "text/event-stream"


class Tracing:
    """The providers that a host gives to its instrumentation, and what they recorded."""

    def __init__(self):
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)

    @property
    def providers(self):
        return {"tracer_provider": self.tracers, "meter_provider": self.meters}

    def server_spans(self):
        return [span for span in self.exporter.get_finished_spans() if span.kind is SpanKind.SERVER]

    def http_server_counts(self):
        """Return the number of calls in each `http.server.*` duration histogram."""
        counts = Counter()
        data = self.reader.get_metrics_data()
        for scope in data.resource_metrics[0].scope_metrics if data else ():
            for metric in scope.metrics:
                if metric.name.startswith("http.server.") and "duration" in metric.name:
                    counts[metric.name] += sum(point.count for point in metric.data.data_points)
        return counts


@pytest.fixture
def tracing():
    return Tracing()


async def chat(request):
    return JSONResponse(CHAT)


async def stream(request):
    async def lines():
        for line in LINES:
            yield line
            await asyncio.sleep(0)

    return StreamingResponse(lines(), media_type=SSE)


def make_starlette():
    return Starlette(routes=[Route("/chat", chat), Route("/stream", stream)])


def make_fastapi(**options):
    app = FastAPI(**options)
    app.add_api_route("/chat", lambda: CHAT)
    app.add_route("/stream", stream)
    return app


def make_flask():
    app = Flask("host")
    app.add_url_rule("/chat", "chat", lambda: CHAT)
    app.add_url_rule("/stream", "stream", lambda: Response(iter(LINES), mimetype=SSE))
    return app.wsgi_app


def add_to_fastapi(guard, app):
    """Add the middleware as a user does, with the fixture's options and cleanup."""
    built = []

    def make(inner, **options):
        built.append(guard(inner, **options))
        return built[-1]

    app.add_middleware(make)
    return app


def contrib_fastapi(guard, tracing):
    app = add_to_fastapi(guard, make_fastapi(telemetry={"tracing": False, "metrics": False}))
    FastAPIInstrumentor.instrument_app(app, **tracing.providers)
    return app


ASGI = {
    "contrib outside": lambda guard, tracing: OpenTelemetryMiddleware(guard(make_starlette()), **tracing.providers),
    "contrib inside": lambda guard, tracing: guard(OpenTelemetryMiddleware(make_starlette(), **tracing.providers)),
    "fastapi, contrib": contrib_fastapi,
    "fastapi, native": lambda guard, tracing: add_to_fastapi(guard, make_fastapi(telemetry=tracing.providers)),
    "fastapi, native inside": lambda guard, tracing: guard(make_fastapi(telemetry=tracing.providers)),
}
WSGI = {
    "contrib outside": lambda guard, tracing: WsgiOpenTelemetryMiddleware(guard(make_flask()), **tracing.providers),
    "contrib inside": lambda guard, tracing: guard(WsgiOpenTelemetryMiddleware(make_flask(), **tracing.providers)),
}


def check(service, tracing, key):
    """Check that two calls have two server spans that match their events, and that none was counted twice."""
    spans = sorted(tracing.server_spans(), key=lambda span: span.start_time)
    events = service.events(2)
    assert [span.context.trace_id for span in spans] == [int(event["trace_id"], 16) for event in events]
    for span in spans:
        told = dict(span.attributes)
        assert told["keygauge.key.id"] == key.id
        assert told["keygauge.outcome"] == "admitted"
        assert told["gen_ai.response.model"] == "gpt-4o-mini"
        assert "gen_ai.request.model" not in told  # a GET names none
        assert (told["gen_ai.usage.input_tokens"], told["gen_ai.usage.output_tokens"]) == (11, 7)
    counts = tracing.http_server_counts()
    assert counts
    assert set(counts.values()) == {2}
    others = [span for span in tracing.exporter.get_finished_spans() if span not in spans]
    assert not [span for span in others if "keygauge.key.id" in span.attributes]


@pytest.mark.parametrize("build", ASGI.values(), ids=ASGI)
async def test_asgi_span_has_key_model_and_tokens(service, guard, visit, tracing, build):
    key, token = service.key()
    app = build(guard, tracing)
    assert [(await visit(app, token, path)).status_code for path in ("/chat", "/stream")] == [200, 200]
    check(service, tracing, key)


@pytest.mark.parametrize("build", WSGI.values(), ids=WSGI)
def test_wsgi_span_has_key_model_and_tokens(service, guard_wsgi, visit_wsgi, tracing, build):
    key, token = service.key()
    app = build(guard_wsgi, tracing)
    assert [visit_wsgi(app, token, path).status_code for path in ("/chat", "/stream")] == [200, 200]
    check(service, tracing, key)


@pytest.mark.parametrize(("status", "answered"), [(200, "gpt-4o-mini"), (503, None)])
async def test_span_has_requested_and_response_model(service, guard, visit, tracing, status, answered):
    async def chat_or_fail(request):
        await request.body()
        return JSONResponse(CHAT if status == 200 else {"error": {"message": "no"}}, status_code=status)

    app = Starlette(routes=[Route("/v1/chat/completions", chat_or_fail, methods=["POST"])])
    app = OpenTelemetryMiddleware(guard(app), **tracing.providers)
    await visit(app, service.key()[1], "/v1/chat/completions", method="POST", json={"model": "mini"})
    (span,) = tracing.server_spans()
    assert span.attributes["gen_ai.request.model"] == "mini"
    assert span.attributes.get("gen_ai.response.model") == answered


@pytest.mark.parametrize("name", ["contrib outside", "contrib inside"])
async def test_refused_call_has_its_outcome_on_the_span(service, guard, visit, tracing, name):
    app = ASGI[name](guard, tracing)
    assert (await visit(app, "kg_live_nonsense", "/chat")).status_code == 401
    if name == "contrib inside":  # the call did not reach it
        assert tracing.server_spans() == []
        return
    (span,) = tracing.server_spans()
    assert (span.attributes["keygauge.key.id"], span.attributes["keygauge.outcome"]) == ("invalid", "unknown")


@pytest.mark.parametrize("name", ["contrib outside", "contrib inside", "fastapi, native"])
async def test_histograms_are_observed_in_the_spans_context(service, guard, visit, tracing, name):
    _, token = service.key()
    guarded = []

    def remember(app, **options):
        guarded.append(guard(app, **options))
        return guarded[-1]

    app = ASGI[name](remember, tracing)
    await visit(app, token, "/chat")  # starts the runtime
    aggregator = guarded[0]._process.runtime.aggregator
    aggregator.drain()
    observe, seen = aggregator.observe, []
    aggregator.observe = lambda series, call: seen.append(call.context)
    try:
        await visit(app, token, "/chat")
        aggregator.drain()
    finally:
        aggregator.observe = observe
    traces = {get_current_span(context).get_span_context().trace_id for context in seen if context is not None}
    assert traces == {tracing.server_spans()[-1].context.trace_id}
