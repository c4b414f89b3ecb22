"""A JSON body: held whole up to a size limit, beyond it without its large members."""

from __future__ import annotations

import json
from typing import Final

from msgspec import Struct

from keygauge.usage import fast_path
from keygauge.usage.accumulator import Accumulator
from keygauge.usage.document import (
    UTF8_BOM,
    begins_as_known,
    may_be_cohere_v1,
    may_be_images,
    may_be_local,
    may_be_ollama,
    may_have_usage,
    parse,
    parse_elements,
)
from keygauge.usage.formats.ndjson import begins_as_lines, read_lines
from keygauge.usage.formats.sse import begins_as_events, read_events
from keygauge.usage.formats.stream import StreamReader
from keygauge.usage.providers import gemini
from keygauge.usage.reading import Missing, Others, Reading
from keygauge.usage.truncated_json import TruncatedJson

MAX_BODY_BYTES = 2**20
_HEAD_BYTES: Final = 64


def _matters(body: bytes | bytearray) -> bool:
    return (
        may_have_usage(body)
        or may_be_ollama(body)
        or may_be_local(body)
        or may_be_cohere_v1(body)
        or body.rfind(b'"choices"') >= 0  # OpenAI without usage: for the model
        or body.rfind(b'"candidates"') >= 0  # Gemini's stream: to count the chunks
        or body.rfind(b'"status"') >= 0  # a background answer: for its id
        or begins_as_known(body)
        or may_be_images(body)
    )


def _stream_in(body: bytes | bytearray) -> StreamReader | None:
    """Return a reader for a stream that is sent as JSON; None if the body does not begin like a stream."""
    head = body[:_HEAD_BYTES].removeprefix(UTF8_BOM).lstrip()
    if begins_as_events(head):
        return read_events()
    return read_lines() if begins_as_lines(body) else None


def _in_utf8(body: bytes) -> bytes:
    """Return a body in UTF-16 or UTF-32, which begins with zeros among its characters, in UTF-8."""
    return body.decode(json.detect_encoding(body), "replace").encode()


class BodyReader(Struct, eq=False, gc=False):  # never part of a cycle
    """Reader of one document, parsed at its end and only if it may have usage."""

    _held: bytes | bytearray = b""
    _large: TruncatedJson | StreamReader | None = None  # the body, if it is too large
    answer: str | None = None
    events: int = 0
    empty_events: int = 0
    failed: bool = False  # the document is an error; only for calls of a model this means that the call failed
    has_content: bool = True
    is_final: bool = False
    is_rpc: bool = False
    others: Others = ()

    def feed(self, chunk: bytes) -> None:
        """Read the next chunk."""
        if type(chunk) is not bytes:
            chunk = bytes(chunk)
        if not self._held and self._large is None and len(chunk) <= MAX_BODY_BYTES:
            self._held = chunk  # the usual body is one chunk: not copied
            return
        for start in range(0, len(chunk), MAX_BODY_BYTES):
            self._hold(chunk[start : start + MAX_BODY_BYTES])

    def close(self, *, complete: bool) -> Reading:
        """Return the usage that was read. An incomplete answer counts if its document is complete."""
        reading = None if self._large is not None else fast_path.read(self._held, self)
        return self._close(complete=complete) if reading is None else reading

    def _close(self, *, complete: bool) -> Reading:
        accumulator = Accumulator()
        if isinstance(self._large, StreamReader):
            return self._close_stream(self._large, complete=complete)
        if 0 in self._held[:4]:
            self._held = _in_utf8(bytes(self._held))
        reason = self._fill(accumulator, self._large)
        if reason == "not_json" and (stream := _stream_in(self._held)):
            stream.feed(bytes(self._held))
            return self._close_stream(stream, complete=complete)
        self._held, self._large = b"", None
        reading = accumulator.read(complete=complete, reason=reason if complete or reason == "too_large" else None)
        self.answer, self.failed, self.others = accumulator.id, accumulator.failed, accumulator.others
        self.is_rpc = accumulator.is_rpc
        return reading

    def _close_stream(self, stream: StreamReader, *, complete: bool) -> Reading:
        reading = stream.close(complete=complete)
        self.answer, self.failed, self.others = stream.answer, stream.failed, stream.others
        self.events, self.empty_events = stream.events, stream.empty_events
        self.has_content, self.is_rpc = stream.has_content, stream.is_rpc
        self._held, self._large = b"", None
        return reading

    def _hold(self, chunk: bytes) -> None:
        if self._large is not None:
            self._large.feed(chunk)
            return
        if not isinstance(self._held, bytearray):
            self._held = bytearray(self._held)
        self._held += chunk
        if len(self._held) > MAX_BODY_BYTES:
            self._large = _stream_in(self._held) or TruncatedJson()
            self._large.feed(bytes(self._held))
            self._held = b""

    def _fill(self, accumulator: Accumulator, large: TruncatedJson | None) -> Missing | None:
        if large is not None and large.is_lost:
            return "too_large"
        body = self._held if large is None else large.kept
        if not _matters(body):
            return "not_json" if large is None and _stream_in(body) else None
        body = body.removeprefix(UTF8_BOM)
        document = parse(body)
        is_whole = document is not None
        if not is_whole and body.lstrip()[:1] == b"[":
            document = parse_elements(body) or None
        if document is None:
            return "not_json" if large is None else "too_large"
        self.events = len(gemini.chunks_in(document))
        if self.events and large is not None:
            self.events = large.elements
        accumulator.take(document)
        return None if is_whole else "cut"
