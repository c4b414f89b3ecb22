"""Choice of the reader for an answer, from its Content-Type and Content-Encoding headers."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Literal, NamedTuple

from keygauge.usage.formats.encoding import can_decode, decode_for
from keygauge.usage.formats.event_stream import EventStreamReader
from keygauge.usage.formats.json_body import BodyReader
from keygauge.usage.formats.ndjson import read_lines
from keygauge.usage.formats.sse import read_events
from keygauge.usage.formats.untyped_body import UntypedReader
from keygauge.usage.reading import Reader

_EVENTS = b"text/event-stream"


def read_page() -> UntypedReader:
    """Return a reader for HTML. Compressed pages are not decoded just to look at their beginning."""
    return UntypedReader()


_READERS: dict[bytes, Callable[[], Reader]] = {
    b"application/json": BodyReader,
    _EVENTS: read_events,
    b"application/x-ndjson": read_lines,
    b"application/ndjson": read_lines,
    b"application/jsonl": read_lines,
    b"application/x-jsonlines": read_lines,
    b"application/stream+json": read_lines,  # Cohere v1
    b"application/vnd.amazon.eventstream": EventStreamReader,
    b"text/json": BodyReader,
    b"text/plain": UntypedReader,
    b"": UntypedReader,
    b"text/html": read_page,
}


Stream = Literal["sse", "ndjson", "eventstream"]
_STREAMS: dict[Callable[[], Reader] | None, Stream] = {
    read_events: "sse",
    read_lines: "ndjson",
    EventStreamReader: "eventstream",
}


class Kind(NamedTuple):
    """What an answer's content type says about its body."""

    make: Callable[[], Reader] | None  # None for types without usage, such as images
    is_document: bool  # a JSON document
    stream: Stream | None  # None if not a stream

    def reader(self, encoding: bytes | str | None) -> Reader | None:
        """Return a reader for one answer with this content encoding; None if its type carries no usage."""
        if self.make is None or not encoding:
            return self.make and self.make()
        name = encoding.encode("latin-1", "replace") if isinstance(encoding, str) else encoding
        if self.make is UntypedReader and not can_decode(name):  # mostly text without usage
            return None
        return None if self.make is read_page else decode_for(self.make(), name)


@lru_cache  # an app uses few content types
def kind_of(content_type: bytes | str | None) -> Kind:
    """Return the kind of an answer from its Content-Type, as bytes (ASGI) or str (WSGI)."""
    if isinstance(content_type, str):
        content_type = content_type.encode("latin-1", "replace")
    media_type = (content_type or b"").partition(b";")[0].strip().lower()
    make = _READERS.get(media_type, BodyReader if media_type.endswith(b"+json") else None)
    return Kind(make, make is BodyReader, _STREAMS.get(make))


def reader_for(content_type: bytes | str | None, content_encoding: bytes | str | None) -> Reader | None:
    """Return a reader for one answer; None if its content type carries no usage."""
    kind = kind_of(content_type)
    return kind.reader(content_encoding) if content_encoding or kind.make is None else kind.make()
