"""Contrib's instrumentations of Flask and Django, in their own environment: one span, no call counted twice."""

import json
import subprocess
from pathlib import Path

import environments
import pytest

import keygauge

PROGRAM = """
import json
import sys
import types

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path
from flask import Flask
from opentelemetry import metrics, trace
from opentelemetry.instrumentation.django import DjangoInstrumentor
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from werkzeug.test import Client

from keygauge.wsgi import KeyGaugeMiddleware

exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
tracers = TracerProvider()
tracers.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(tracers)
metrics.set_meter_provider(MeterProvider([reader]))
CHAT = {
    "object": "chat.completion",
    "model": "gpt-4o-mini",
    "choices": [],
    "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
}
if sys.argv[1] == "flask":
    app = Flask("host")
    app.add_url_rule("/items/<n>", "item", lambda n: CHAT)
    FlaskInstrumentor().instrument_app(app)
    inner = app.wsgi_app
else:
    urls = types.ModuleType("urls")
    urls.urlpatterns = [path("items/<n>", lambda request, n: JsonResponse(CHAT))]
    sys.modules["urls"] = urls
    settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF="urls", SECRET_KEY="x" * 50, MIDDLEWARE=[])
    DjangoInstrumentor().instrument()
    django.setup()
    inner = get_wsgi_application()
client = Client(KeyGaugeMiddleware(inner, mode="observe", identify=lambda environ: "k1"))
for number in range(3):
    assert client.get(f"/items/{number}", buffered=True).status_code == 200
spans = [dict(span.attributes) for span in exporter.get_finished_spans()]
counts, traces = {}, set()
for scope in reader.get_metrics_data().resource_metrics[0].scope_metrics:
    for metric in scope.metrics:
        for point in metric.data.data_points if "duration" in metric.name else ():
            counts[metric.name] = counts.get(metric.name, 0) + point.count
            if metric.name == "keygauge.request.duration":
                traces.update(exemplar.trace_id for exemplar in point.exemplars)
own = {span.context.trace_id for span in exporter.get_finished_spans()}
told = [[span.get("keygauge.key.id"), span.get("keygauge.outcome")] for span in spans]
print(json.dumps({"spans": told, "counts": counts, "exemplars_are_spans": bool(traces) and traces <= own}))
"""


@pytest.mark.xdist_group("foreign")
@pytest.mark.timeout(900)
@pytest.mark.parametrize("framework", ["flask", "django"])
def test_span_has_the_key_and_calls_are_counted_once(framework):
    python = environments.programs("contrib") / "python"
    path = str(Path(keygauge.__file__).parent.parent)
    done = subprocess.run(
        [python, "-c", PROGRAM, framework], env={"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["spans"] == [["k1", "admitted"]] * 3
    assert told["counts"]["keygauge.request.duration"] == 3
    assert {count for name, count in told["counts"].items() if name.startswith("http.server.")} == {3}
    assert told["exemplars_are_spans"]
