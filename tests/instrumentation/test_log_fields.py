"""The call's key and trace on each log line of the host."""

import io
import json
import logging

import pytest
from flask import Flask
from opentelemetry.sdk.trace import TracerProvider
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from keygauge import CallFilter, log_fields
from keygauge.call import CURRENT, Call
from keygauge.limits.reading.estimate import Estimate

log = logging.getLogger("host")
FORMAT = "%(message)s|%(keygauge.key.id)s|%(http.route)s|%(gen_ai.response.model)s|%(trace_id)s"


@pytest.fixture
def lines():
    """Return a function that returns the host's log lines, from a handler with the filter."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter(FORMAT))
    handler.addFilter(CallFilter())
    log.addHandler(handler)
    yield lambda: stream.getvalue().splitlines()
    log.removeHandler(handler)


async def test_log_lines_of_an_asgi_handler_have_the_key(service, guard, visit, lines):
    made, token = service.key()

    async def hello(request):
        log.error("hello")
        return JSONResponse({})

    await visit(guard(Starlette(routes=[Route("/hello", hello)])), token)
    log.error("after")
    assert lines() == [f"hello|{made.id}|||", "after||||"]


def test_log_lines_of_a_wsgi_handler_have_key_and_trace(service, guard_wsgi, visit_wsgi, lines):
    made, token = service.key()
    app = Flask("host")

    @app.get("/hello")
    def hello():
        log.error("hello")
        return {}

    with TracerProvider(shutdown_on_exit=False).get_tracer("test").start_as_current_span("request") as span:
        visit_wsgi(guard_wsgi(app.wsgi_app), token)
    assert lines() == [f"hello|{made.id}|||{span.get_span_context().trace_id:032x}"]


def test_existing_field_is_kept(lines):
    log.error("own", extra={"trace_id": "mine"})
    assert lines() == ["own||||mine"]


def test_record_factory_applies_to_all_handlers_and_is_installed_once():
    before = logging.getLogRecordFactory()
    outer = CURRENT.set(Call(method="GET", ip=None, time_ns=0, started_ns=0))
    try:
        log_fields.install()
        installed = logging.getLogRecordFactory()
        log_fields.install()
        assert logging.getLogRecordFactory() is installed
        record = log.makeRecord("host", logging.ERROR, "x.py", 1, "hello", (), None)
        assert record.__dict__["keygauge.key.id"] == "anonymous"
    finally:
        CURRENT.reset(outer)
        logging.setLogRecordFactory(before)


def test_structlog_events_have_the_fields_only_inside_a_call():
    assert log_fields.add_call(None, "info", {"event": "outside"}) == {"event": "outside"}
    call = Call(method="GET", ip=None, time_ns=0, started_ns=0)
    call.key, call.model, call.route = "k1", "m1", "/chat"
    call.estimate = Estimate(model="r1")
    outer = CURRENT.set(call)
    try:
        event = log_fields.add_call(None, "info", {"event": "inside", "http.route": "own"})
    finally:
        CURRENT.reset(outer)
    assert json.loads(json.dumps(event)) == {
        "event": "inside",
        "keygauge.key.id": "k1",
        "http.route": "own",
        "gen_ai.request.model": "r1",
        "gen_ai.response.model": "m1",
    }
