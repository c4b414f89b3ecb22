"""A JSON body: held whole up to a bound, past it without its large members."""

from __future__ import annotations

from msgspec import Struct

from keygauge.usage import fast_path
from keygauge.usage.accumulator import Accumulator
from keygauge.usage.document import (
    UTF8_BOM,
    begins_as_known,
    may_be_cohere_v1,
    may_be_local,
    may_be_ollama,
    may_have_usage,
    parse,
)
from keygauge.usage.reading import Missing, Others, Reading
from keygauge.usage.truncated_json import TruncatedJson

MAX_BODY_BYTES = 2**20


def _matters(body: bytes | bytearray) -> bool:
    return (
        may_have_usage(body)
        or may_be_ollama(body)
        or may_be_local(body)
        or may_be_cohere_v1(body)
        or body.rfind(b'"choices"') >= 0  # OpenAI's without usage: the model is named all the same
        or body.rfind(b'"status"') >= 0  # one that goes on in the background: its id is of interest
        or begins_as_known(body)
    )


class BodyReader(Struct, eq=False, gc=False):  # never part of a cycle
    """Read one document, parsed at its end and only if it can tell usage."""

    _held: bytes | bytearray = b""
    _large: TruncatedJson | None = None  # the body, where it is past the bound
    answer: str | None = None
    events: int = 0
    failed: bool = False  # by what it says; of calls for a model, that is one that failed
    has_content: bool = True
    is_final: bool = False
    others: Others = ()

    def feed(self, chunk: bytes) -> None:
        """Take the next chunk as it is sent."""
        if type(chunk) is not bytes:
            chunk = bytes(chunk)
        if not self._held and self._large is None and len(chunk) <= MAX_BODY_BYTES:
            self._held = chunk  # the usual body is one chunk: not copied
            return
        for start in range(0, len(chunk), MAX_BODY_BYTES):
            self._hold(chunk[start : start + MAX_BODY_BYTES])

    def close(self, *, complete: bool) -> Reading:
        """Tell what was read. A body said to be cut counts if it is whole nevertheless."""
        reading = None if self._large is not None else fast_path.read(self._held, self)
        return self._close(complete=complete) if reading is None else reading

    def _close(self, *, complete: bool) -> Reading:
        accumulator = Accumulator()
        reason = self._fill(accumulator)
        self.answer, self.failed, self.others = accumulator.id, accumulator.failed, accumulator.others
        self._held, self._large = b"", None
        return accumulator.read(complete=complete, reason=reason if complete or reason == "too_large" else None)

    def _hold(self, chunk: bytes) -> None:
        if self._large is not None:
            self._large.feed(chunk)
            return
        if not isinstance(self._held, bytearray):
            self._held = bytearray(self._held)
        self._held += chunk
        if len(self._held) > MAX_BODY_BYTES:
            self._large = TruncatedJson()
            self._large.feed(self._held)
            self._held = b""

    def _fill(self, accumulator: Accumulator) -> Missing | None:
        large = self._large
        if large is not None and large.is_lost:
            return "too_large"
        body = self._held if large is None else large.kept
        if not _matters(body):
            return None
        document = parse(body.removeprefix(UTF8_BOM))
        if document is None:
            return "not_json" if large is None else "too_large"
        accumulator.take(document)
        return None
