"""The trace that a call is part of: its id goes into the event, and what KeyGauge knows of the call onto its span."""

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
    """Return what reads the current context in the fewest steps: each call does so twice."""
    runtime = getattr(otel_context, "_RUNTIME_CONTEXT", None)
    variable = getattr(runtime, "_current_context", None) if type(runtime) is ContextVarsRuntimeContext else None
    return variable.get if isinstance(variable, ContextVar) else otel_context.get_current


current = _reader()  # empty where nothing is traced


def find(call: Call) -> None:
    """Note the current span in the call, where there is one; its context makes exemplars of it."""
    context = current()
    if not context:
        return
    span = trace.get_current_span(context).get_span_context()
    if span.is_valid:
        call.trace_id = trace.format_trace_id(span.trace_id)
        call.context = context


def find_inside(call: Call) -> None:
    """Note the span that an instrumentation inside of KeyGauge has open by now, and write on it what is known by now.

    Contrib's of Flask and Django end theirs before the answer's body passes.
    """
    find(call)
    if call.context is not None:
        describe(call)


def describe(call: Call) -> None:
    """Write key, models and tokens on the call's span, if it is still open and recorded."""
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
