"""The choice of an answer's reader, from its two headers."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from keygauge.usage.encoding import decode_for
from keygauge.usage.json_body import BodyReader
from keygauge.usage.ndjson import read_lines
from keygauge.usage.reading import Reader
from keygauge.usage.sse import read_events

_READERS: dict[bytes, Callable[[], Reader]] = {
    b"application/json": BodyReader,
    b"text/event-stream": read_events,
    b"application/x-ndjson": read_lines,
    b"application/ndjson": read_lines,
    b"application/jsonl": read_lines,
    b"application/x-jsonlines": read_lines,
    b"application/stream+json": read_lines,  # Cohere v1
}


def reader_for(content_type: bytes | None, content_encoding: bytes | None) -> Reader | None:
    """Make the reader for one answer; None for a kind that carries no usage (HTML, images, no type at all)."""
    make = None if content_type is None else _choose(content_type)
    if make is None:
        return None
    return make() if content_encoding is None else decode_for(make(), content_encoding)


@lru_cache  # an app has a few content types
def _choose(content_type: bytes) -> Callable[[], Reader] | None:
    media_type = content_type.partition(b";")[0].strip().lower()
    return _READERS.get(media_type, BodyReader if media_type.endswith(b"+json") else None)
