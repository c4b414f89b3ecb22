"""Tracing: the event gets the trace id of its call, and the call's span gets KeyGauge's attributes."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext

from keygauge import metrics
from keygauge.call import Call
from keygauge.settings import conventions
from keygauge.telemetry import gen_ai


def _reader() -> Callable[[], otel_context.Context]:
    """Return the fastest function that reads the current context: each call reads it twice."""
    runtime = getattr(otel_context, "_RUNTIME_CONTEXT", None)
    variable = getattr(runtime, "_current_context", None) if type(runtime) is ContextVarsRuntimeContext else None
    return variable.get if isinstance(variable, ContextVar) else otel_context.get_current


current = _reader()  # its context is empty when nothing is traced


def find(call: Call) -> None:
    """Record the current span's trace id and context, if any, in the call; the context is for exemplars."""
    context = current()
    if not context:
        return
    span = trace.get_current_span(context).get_span_context()
    if span.is_valid:
        call.trace_id = trace.format_trace_id(span.trace_id)
        call.context = context


def find_inside(call: Call) -> None:
    """Record the span opened by an instrumentation inside KeyGauge, and set the attributes known so far.

    The contrib instrumentations of Flask and Django end their span before the response body is sent.
    """
    find(call)
    if call.context is not None:
        describe(call)


def describe(call: Call) -> None:
    """Set key, outcome, models, provider and tokens on the call's span if it is still recording."""
    span = trace.get_current_span(call.context)
    if not span.is_recording():
        return
    span.set_attribute(metrics.KEY, call.key)
    span.set_attribute(metrics.OUTCOME, call.outcome)
    if call.requested_model is not None:
        span.set_attribute(metrics.REQUESTED_MODEL, call.requested_model)
    if call.model is not None and not call.is_model_assumed:
        span.set_attribute(metrics.MODEL, call.model)
    if call.provider is not None:
        span.set_attribute(metrics.PROVIDER, call.provider)
    if profiles := conventions.chosen():
        for name, value in gen_ai.span_attributes(call, profiles).items():
            span.set_attribute(name, value)
    if call.usage is None:
        return
    for name, count in (
        ("gen_ai.usage.input_tokens", call.usage.input_tokens),
        ("gen_ai.usage.output_tokens", call.usage.output_tokens),
    ):
        if count is not None:
            span.set_attribute(name, count)
