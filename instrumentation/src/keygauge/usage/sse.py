"""Server-sent events, by the rules of https://html.spec.whatwg.org/multipage/server-sent-events.html."""

from __future__ import annotations

import re

from keygauge.usage.document import may_be_llama_cpp, may_have_usage
from keygauge.usage.stream import Framing, StreamReader

# \r\n, \n and \r each end a line; atomic, else \r\n would also match as two ends. An event that ends in \r\r and whose
# last \r turns out to be half of a \r\n leaves a \n to the next event: an empty line there, which says nothing.
_BLANK_LINES = re.compile(rb"(?>\r\n|\n|\r){2,}")


def _join_data(event: bytearray) -> bytearray:
    # The space after the colon may stay: JSON does not mind.
    return bytearray(b"\n").join([line[5:] for line in event.splitlines() if line.startswith(b"data:")])


def _matters(event: bytes | bytearray) -> bool:
    return may_have_usage(event) or may_be_llama_cpp(event)


_EVENTS = Framing(
    boundary=_BLANK_LINES,
    ends=(b"\n\n", b"\r\n\r\n"),
    overlap=3,
    unframe=_join_data,
    matters=_matters,
)


def read_events() -> StreamReader:
    """Make a reader of `text/event-stream`."""
    return StreamReader(_EVENTS)
