"""Server-sent events, per https://html.spec.whatwg.org/multipage/server-sent-events.html."""

from __future__ import annotations

import re

from keygauge.usage.document import ERROR, TOKEN, may_be_error
from keygauge.usage.formats.stream import Framing, StreamReader

# \r\n, \n and \r each end a line: a line is empty if either follows a \n, or a \r follows a \r. If a chunk ends within
# a run of them, the rest precedes the next event as empty lines, which are ignored. A pattern that starts with a
# character set is 15 times as fast as one that starts with a group.
_BLANK_LINES = re.compile(rb"[\r\n](?:(?<=\n)[\r\n]|\r)[\r\n]*")
_FIELDS = (b"data:", b"event:", b"id:", b"retry:", b":")
_DATA = re.compile(rb"(?:^|[\r\n])data:")
_EMPTY = re.compile(rb"[\r\n]*(?:data: ?\[DONE\]|event: ?(?:ping|keepalive)[\r\n])")  # the end marker, keep-alives
_DONE = (b"[DONE]\n\n", b"[DONE]\r\n\r\n")
_ERROR_LINE = re.compile(rb"(?:^|[\r\n])(?:error:|event: ?error[\r\n])")


def _join_data(event: bytearray) -> bytearray:
    # JSON allows the space after the colon.
    return bytearray(b"\n").join(_parts(event))


def _matters(event: bytes | bytearray) -> bool:
    return event.rfind(TOKEN) >= 0 or (event.rfind(ERROR) >= 0 and may_be_error(event))


def _count_plain(events: bytes) -> int:
    # The searches are inlined: a function call takes as long as one, and most events need no more.
    if events.rfind(TOKEN) >= 0 or events.rfind(ERROR) >= 0 or events.endswith(_DONE):
        return -1
    begins_with_data = events.startswith(b"data:")
    if not begins_with_data and (events.rfind(b"event: ping") >= 0 or events.rfind(b"event: keepalive") >= 0):
        return -1
    return events.count(b"\ndata:") + begins_with_data  # JSON in events has no line breaks


def _parts(event: bytearray) -> list[bytearray]:
    """Return the data lines; each is a document if a server ends events with a single line break."""
    return [line[5:] for line in event.splitlines() if line.startswith(b"data:")]


def _has_data(event: bytearray) -> bool:
    return event.startswith(b"data:") or _DATA.search(event) is not None


def _is_empty(event: bytearray) -> bool:
    return _EMPTY.match(event) is not None


def _is_error(event: bytearray) -> bool:
    return event.rfind(ERROR) >= 0 and _ERROR_LINE.search(event) is not None


_EVENTS = Framing(
    boundary=_BLANK_LINES,
    ends=(b"\n\n", b"\r\n\r\n"),
    overlap_bytes=1,
    unframe=_join_data,
    parts=_parts,
    matters=_matters,
    count_plain=_count_plain,
    has_data=_has_data,
    is_empty=_is_empty,
    is_error=_is_error,
)


def begins_as_events(text: bytes | bytearray) -> bool:
    """Return whether a text begins like an event stream."""
    return text.startswith(_FIELDS)


def read_events() -> StreamReader:
    """Return a reader for `text/event-stream`."""
    return StreamReader(_EVENTS)
