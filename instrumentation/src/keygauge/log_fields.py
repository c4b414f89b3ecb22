"""Log fields of the current call: its key, route, models and trace, on every line logged while it is answered.

- `logging`: `handler.addFilter(CallFilter())`, or `install()` for all handlers; then use `%(keygauge.key.id)s` in a
  format. JSON formatters and OpenTelemetry's log export have fields of the same names.
- structlog: add `add_call` to the processors.

Outside a call, structlog events have none of the fields, and `logging` records have empty ones, as formats would fail
without them.
"""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

from opentelemetry import trace

from keygauge import metrics
from keygauge.call import CURRENT, UNMATCHED

TRACE = "trace_id"  # 32 hexadecimal digits
FIELDS = (metrics.KEY, metrics.ROUTE, metrics.REQUESTED_MODEL, metrics.MODEL, TRACE)

_NONE: dict[str, str] = dict.fromkeys(FIELDS, "")


class CallFilter(logging.Filter):
    """A filter that adds the fields to each record and drops none."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields."""
        for name, value in {**_NONE, **fields()}.items():
            record.__dict__.setdefault(name, value)
        return True


def install() -> None:
    """Add the fields to all future records; safe to repeat."""
    make = logging.getLogRecordFactory()
    if hasattr(make, "keygauge_filter"):
        return
    add = CallFilter().filter

    def make_with_fields(*args: Any, **options: Any) -> logging.LogRecord:
        record = make(*args, **options)
        add(record)
        return record

    make_with_fields.keygauge_filter = add  # type: ignore[attr-defined]  # how `install` recognizes its own factory
    logging.setLogRecordFactory(make_with_fields)


def add_call(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Add the fields to a structlog event, as a processor."""
    for name, value in fields().items():
        event.setdefault(name, value)
    return event


def fields() -> dict[str, str]:
    """Return the fields of the current call that are known so far: always the key, the others when available."""
    call = CURRENT.get()
    if call is None:
        return {}
    known = {metrics.KEY: call.key}
    route = call.matched if call.route == UNMATCHED else call.route
    if route is not None:
        known[metrics.ROUTE] = route
    if requested := call.requested_model or (call.estimate and call.estimate.model):
        known[metrics.REQUESTED_MODEL] = requested
    if call.model is not None:
        known[metrics.MODEL] = call.model
    if trace_id := call.trace_id or _trace_id():
        known[TRACE] = trace_id
    return known


def _trace_id() -> str | None:
    """Return the trace id of an instrumentation inside KeyGauge, which the call has only once its answer starts."""
    span = trace.get_current_span().get_span_context()
    return trace.format_trace_id(span.trace_id) if span.is_valid else None
