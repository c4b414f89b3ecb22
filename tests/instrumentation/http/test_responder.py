"""What becomes of a call at its end: whatever of KeyGauge fails then, it is in the ledger and in the metrics, once."""

import asyncio
import json

import pytest
from opentelemetry.context import Context
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

import keygauge
from keygauge.http.asgi_http import AsgiResponder
from keygauge.http.responder import Responder
from keygauge.http.wsgi_http import WsgiResponder
from keygauge.limits.authorizer import Authorizer
from keygauge.spool.hourly_counts import HourlyCounts
from keygauge.spool.spool import Spool
from keygauge.telemetry import tracing
from keygauge.telemetry.aggregator import Aggregator
from keygauge.telemetry.cost_meter import Costing, CostMeter
from keygauge.telemetry.counters import Counters
from keygauge.telemetry.labels import Cardinality
from keygauge.usage.json_body import BodyReader

RPM = {"name": "rpm", "unit": "request", "amount": 1000, "window_s": 60}
TPM = {"name": "tpm", "unit": "token", "amount": 1_000_000, "window_s": 60}
BUDGET = {"name": "budget", "unit": "nanousd", "amount": 10**12, "period": "month"}
ANSWER = {"model": "gpt-4o", "object": "chat.completion", "usage": {"prompt_tokens": 7, "completion_tokens": 3}}
SENT = {"model": "gpt-4o", "max_tokens": 5, "messages": []}


class FaultError(Exception):
    """What is injected."""


def fail(*_, **__):
    raise FaultError


@pytest.fixture(params=["asgi", "wsgi"])
def served(request, service, guard, guard_wsgi, visit, visit_wsgi):
    """Make one call of a model by a key with limits of every unit; returns the answer and the middleware."""

    def serve(*, tamper=lambda call: None):
        _, token = service.key(RPM, TPM, BUDGET)
        if request.param == "asgi":

            async def chat(request):
                await request.body()
                tamper(keygauge.current())
                return JSONResponse(ANSWER)

            app = guard(Starlette(routes=[Route("/hello", chat, methods=["POST"])]))
            return asyncio.run(visit(app, token, method="POST", json=SENT)), app

        def chat_wsgi(environ, start_response):
            tamper(keygauge.current())
            environ["wsgi.input"].read()
            start_response("200 OK", [("content-type", "application/json")])
            return [json.dumps(ANSWER).encode()]

        app = guard_wsgi(chat_wsgi)
        return visit_wsgi(app, token, method="POST", json=SENT), app

    return serve


def trace(call):
    """Make the call part of a trace."""
    call.context = Context()


def requests_counted(middleware):
    cells = middleware._process.runtime.aggregator.cells()
    return sum(cell.requests for cell in cells if cell.series.outcome == "admitted")


@pytest.fixture(autouse=True)
def fresh_counts(monkeypatch):
    """Count from zero: the aggregator is the process's."""
    monkeypatch.setattr("keygauge.runtime._Counted.aggregator", None)


STEPS = {
    "route of asgi": (AsgiResponder, "_route"),
    "route of wsgi": (WsgiResponder, "_route"),
    "reading": (BodyReader, "feed"),
    "usage": (BodyReader, "close"),
    "estimate": (Responder, "_estimate"),
    "error": (Responder, "_name_error"),
    "reservation": (Authorizer, "mark_estimated"),
    "limits": (Authorizer, "settle"),
    "prices": (CostMeter, "charge"),
    "cost": (Costing, "settle"),
    "labels": (Cardinality, "fold"),
    "sums": (Counters, "add"),
    "span": (tracing, "describe"),
    "hours": (HourlyCounts, "add"),
    "count of hours": (HourlyCounts, "count_waiting"),
}
UNREAD = {"reading", "usage"}  # the tokens are not known then, and the call is all the same


@pytest.mark.parametrize("step", STEPS)
def test_fault_in_any_step_loses_neither_event_nor_metric(step, served, service, monkeypatch):
    monkeypatch.setattr(*STEPS[step], fail)
    answer, app = served(tamper=trace)
    assert (answer.status_code, answer.json()) == (200, ANSWER)
    (event,) = service.events(1)
    assert (event["status"], event["outcome"]) == (200, "admitted")
    assert (event["input_tokens"], event["output_tokens"]) == ((None, None) if step in UNREAD else (7, 3))
    assert requests_counted(app) == 1


@pytest.mark.parametrize("step", ["record", "append"])
def test_event_and_metric_do_not_need_each_other(step, served, service, monkeypatch):
    monkeypatch.setattr(*{"record": (Aggregator, "record"), "append": (Spool, "append")}[step], fail)
    answer, app = served()
    assert answer.status_code == 200
    assert requests_counted(app) == (0 if step == "record" else 1)
    assert len(service.events(1, timeout_s=10 if step == "record" else 0)) == (1 if step == "record" else 0)
    assert app._process.runtime.aggregator.faults() == {"record" if step == "record" else "event": 1}


@pytest.mark.parametrize(
    ("field", "nonsense"),
    [
        ("model", 4),
        ("provider", ["openai"]),
        ("error", b"bytes"),
        ("usage", "many"),
        ("limit", ["rpm"]),
        ("trace_id", object()),
    ],
)
def test_nonsense_that_an_app_puts_into_its_call_costs_that_field_alone(field, nonsense, served, service):
    answer, app = served(tamper=lambda call: setattr(call, field, nonsense))
    assert answer.status_code == 200
    (event,) = service.events(1)
    assert (event["status"], event["request_bytes"]) == (200, len(answer.request.content))
    cells = app._process.runtime.aggregator.cells()
    assert sum(cell.requests for cell in cells) == 1
