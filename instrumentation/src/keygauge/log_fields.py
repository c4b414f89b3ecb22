"""The call in the log: its key, route, model and trace on every line that is written while it is answered.

- `logging`: `handler.addFilter(CallFilter())`, or `install()` for all handlers at once; then `%(keygauge.key.id)s` in a
  format, and a field of that name wherever records are written as JSON or exported by OpenTelemetry.
- structlog: `add_call` among the processors.

A line outside of a call has none of the fields from structlog, and empty ones from `logging`, whose formats fail
without.
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
    """Adds the fields to each record and keeps every record."""

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

    make_with_fields.keygauge_filter = add  # type: ignore[attr-defined]  # how `install` knows its own
    logging.setLogRecordFactory(make_with_fields)


def add_call(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Add the fields to an event of structlog: a processor."""
    for name, value in fields().items():
        event.setdefault(name, value)
    return event


def fields() -> dict[str, str]:
    """Return what is known by now of the call being answered: its key always, the rest as it comes to be known."""
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
    """Return the trace of an instrumentation inside of KeyGauge, before the answer begins."""
    span = trace.get_current_span().get_span_context()
    return trace.format_trace_id(span.trace_id) if span.is_valid else None
