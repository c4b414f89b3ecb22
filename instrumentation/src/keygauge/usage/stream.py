"""A streamed answer: documents in frames, of which only the unfinished one is held."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from keygauge.usage.accumulator import Accumulator
from keygauge.usage.document import UTF8_BOM, parse
from keygauge.usage.reading import Reading

MAX_FRAME_BYTES = 2**20
_MODEL_LOOKS = 4  # documents at the start that are parsed for the model alone (Azure names none in its first)


class Framing(NamedTuple):
    """How a format divides its stream."""

    boundary: re.Pattern[bytes]
    ends: tuple[bytes, ...]  # the usual boundaries: a chunk that ends so leaves no frame unfinished
    overlap_bytes: int  # of a boundary that may stand at the end of a chunk and not yet be one
    unframe: Callable[[bytearray], bytearray]  # the document in a frame; empty when there is none
    matters: Callable[[bytes | bytearray], bool]  # False is certain: the frame tells no usage


class StreamReader:
    """Read frames as they pass; those that cannot tell usage cost one search."""

    __slots__ = (
        "_begun",
        "_ends",
        "_framing",
        "_held",
        "_is_idle",
        "_looks",
        "_matters",
        "_skips",
        "_tally",
        "_too_large",
    )

    def __init__(self, framing: Framing) -> None:
        self._framing = framing
        self._ends = framing.ends
        self._matters = framing.matters
        self._held = bytearray()
        self._looks = _MODEL_LOOKS
        self._tally = Accumulator()
        self._begun = False  # past the byte order mark
        self._skips = False  # inside a frame past the bound
        self._too_large = False
        self._is_idle = False  # nothing held, no model sought: whole frames without a marker may pass unseen

    @property
    def failed(self) -> bool:
        """Whether it told an error."""
        return self._tally.failed

    def feed(self, chunk: bytes) -> None:
        """Take the next chunk as it is sent."""
        if type(chunk) is not bytes:
            chunk = bytes(chunk)
        if self._is_idle and chunk.endswith(self._ends) and not self._matters(chunk):
            return
        for start in range(0, len(chunk), MAX_FRAME_BYTES):
            self._hold(chunk[start : start + MAX_FRAME_BYTES])
        self._is_idle = not self._held and not self._looks

    def close(self, *, complete: bool) -> Reading:
        """Tell what was read. A last frame without its end counts if its document is whole."""
        if self._held and not self._skips:
            self._take(self._held)
        self._held = bytearray()
        return self._tally.read(complete=complete, reason="too_large" if self._too_large else None)

    def _hold(self, chunk: bytes) -> None:
        held = self._held
        start = max(len(held) - self._framing.overlap_bytes, 0)  # what lies before was searched already
        held += chunk
        if not self._begun and not self._begin():
            return
        done = 0
        while boundary := self._framing.boundary.search(held, start):
            if boundary.start() - done > MAX_FRAME_BYTES:
                self._too_large = True
            elif not self._skips:
                self._take(held[done : boundary.start()])
            self._skips = False
            done = start = boundary.end()
        del held[:done]
        if len(held) > MAX_FRAME_BYTES + self._framing.overlap_bytes:
            del held[: -self._framing.overlap_bytes]
            self._skips = self._too_large = True

    def _begin(self) -> bool:
        held = self._held
        if len(held) < len(UTF8_BOM) and UTF8_BOM.startswith(held):
            return False
        if held.startswith(UTF8_BOM):
            del held[: len(UTF8_BOM)]
        self._begun = True
        return True

    def _take(self, frame: bytearray) -> None:
        if not self._looks and not self._matters(frame):
            return
        text = self._framing.unframe(frame)
        if not text:
            return
        document = parse(text)
        if document is not None:
            self._tally.take(document)
        self._looks = 0 if self._tally.model else max(self._looks - 1, 0)
