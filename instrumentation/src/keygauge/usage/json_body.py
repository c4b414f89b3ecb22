"""A JSON body: held whole up to a bound, past it only its two ends."""

from __future__ import annotations

from keygauge.usage import fast_path
from keygauge.usage.accumulator import Accumulator
from keygauge.usage.document import UTF8_BOM, may_be_cohere_v1, may_be_llama_cpp, may_be_ollama, may_have_usage, parse
from keygauge.usage.reading import Missing, Reading
from keygauge.usage.truncated_json import abridge

MAX_BODY_BYTES = 2**20
HEAD_BYTES = 2**12
TAIL_BYTES = 2**14


def _matters(body: bytes | bytearray) -> bool:
    return (
        may_have_usage(body)
        or may_be_ollama(body)
        or may_be_llama_cpp(body)
        or may_be_cohere_v1(body)
        or body.rfind(b'"choices"') >= 0  # OpenAI's without usage: the model is named all the same
    )


class BodyReader:
    """Read one document, parsed at its end and only if it can tell usage."""

    __slots__ = ("_head", "_held")

    failed = False  # its status says so

    def __init__(self) -> None:
        self._head = b""  # of a body past the bound; `_held` is its tail then
        self._held: bytes | bytearray = b""

    def feed(self, chunk: bytes) -> None:
        """Take the next chunk as it is sent."""
        if type(chunk) is not bytes:
            chunk = bytes(chunk)
        if not self._held and len(chunk) <= MAX_BODY_BYTES:
            self._held = chunk  # the usual body is one chunk: not copied
            return
        for start in range(0, len(chunk), MAX_BODY_BYTES):
            self._hold(chunk[start : start + MAX_BODY_BYTES])

    def close(self, *, complete: bool) -> Reading:
        """Tell what was read. A body said to be cut counts if it is whole nevertheless."""
        reading = None if self._head else fast_path.read(self._held)
        return self._close(complete=complete) if reading is None else reading

    def _close(self, *, complete: bool) -> Reading:
        tally = Accumulator()
        reason = self._fill(tally)
        self._head = self._held = b""
        return tally.read(complete=complete, reason=reason if complete or reason == "too_large" else None)

    def _hold(self, chunk: bytes) -> None:
        if not isinstance(self._held, bytearray):
            self._held = bytearray(self._held)
        held = self._held
        held += chunk
        if not self._head and len(held) > MAX_BODY_BYTES:
            self._head = bytes(held[:HEAD_BYTES])
        if self._head and len(held) > 2 * TAIL_BYTES:  # twice, so that small chunks are not a move each
            del held[:-TAIL_BYTES]

    def _fill(self, tally: Accumulator) -> Missing | None:
        body = self._held
        if self._head:
            body = abridge(self._head, body[-TAIL_BYTES:])
        if not _matters(body):
            return "too_large" if self._head else None
        document = parse(body.removeprefix(UTF8_BOM))
        if document is None:
            return "too_large" if self._head else "not_json"
        tally.take(document)
        return "too_large" if self._head and not tally.tells else None
