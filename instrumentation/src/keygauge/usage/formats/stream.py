"""A streamed answer: documents in frames, of which only the unfinished one is held in memory."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from keygauge.usage import providers
from keygauge.usage.accumulator import DocumentsReader
from keygauge.usage.document import UTF8_BOM, may_have_usage, parse
from keygauge.usage.reading import Missing, Reading
from keygauge.usage.truncated_json import TruncatedJson

MAX_FRAME_BYTES = 2**20  # longer frames are read without their large members
_MODEL_LOOKS = (
    4  # documents, from the first content on, that are parsed just for the model (Azure's first one names none)
)


class Framing(NamedTuple):
    """How a format divides a stream into documents."""

    boundary: re.Pattern[bytes]
    ends: tuple[bytes, ...]  # the usual boundaries: a chunk with such an end leaves no frame unfinished
    overlap_bytes: int  # how much of an incomplete boundary may be at the end of a chunk
    unframe: Callable[[bytearray], bytearray]  # the document in a frame; empty if there is none
    parts: Callable[[bytearray], list[bytearray]]  # possible documents in a frame that is not one document
    matters: Callable[[bytes | bytearray], bool]  # False is certain: the frame has no usage and no error
    count_plain: Callable[[bytes], int]  # documents in a chunk of whole frames; -1 if one may matter
    has_data: Callable[[bytearray], bool]
    is_empty: Callable[[bytearray], bool]  # a keep-alive, or the end marker
    is_error: Callable[[bytearray], bool]  # by what surrounds the document


class StreamReader(DocumentsReader):
    """Reader of frames as they pass; frames that cannot have usage cost one search."""

    __slots__ = (
        "_begun",
        "_count_plain",
        "_ends",
        "_framing",
        "_held",
        "_is_idle",
        "_large",
        "_looks",
        "_lost",
        "_matters",
    )

    def __init__(self, framing: Framing) -> None:
        super().__init__()
        self._framing = framing
        self._ends = framing.ends
        self._count_plain = framing.count_plain
        self._matters = framing.matters
        self._held = bytearray()
        self._looks = _MODEL_LOOKS
        self._begun = False  # past the byte order mark
        self._large: TruncatedJson | None = None  # the current frame, if it is too long
        self._lost: Missing | None = None  # why a frame's usage, if any, is unknown
        self._is_idle = False  # nothing held and no model sought: plain frames are only counted

    def feed(self, chunk: bytes) -> None:
        """Read the next chunk."""
        if type(chunk) is not bytes:
            chunk = bytes(chunk)
        if self._is_idle and chunk.endswith(self._ends):
            count = self._count_plain(chunk)
            if count >= 0:
                self.events += count
                return
        for start in range(0, len(chunk), MAX_FRAME_BYTES):
            self._hold(chunk[start : start + MAX_FRAME_BYTES])
        self._is_idle = not self._held and not self._looks and self.has_content

    def close(self, *, complete: bool) -> Reading:
        """Return the usage that was read. A last frame without a boundary counts if its document is complete."""
        if self._held or self._large is not None:
            self._end_frame(self._held)
        self._held = bytearray()
        reason = self._lost if complete or self._lost == "too_large" else None
        return self._accumulator.read(complete=complete, reason=reason)

    def _hold(self, chunk: bytes) -> None:
        held = self._held
        overlap_bytes = self._framing.overlap_bytes
        start = max(len(held) - overlap_bytes, 0)  # the part before has been searched
        held += chunk
        if not self._begun and not self._begin():
            return
        done = 0
        while boundary := self._framing.boundary.search(held, start):
            self._end_frame(held[done : boundary.start()])
            done = start = boundary.end()
        del held[:done]
        if len(held) > MAX_FRAME_BYTES + overlap_bytes or (self._large is not None and len(held) > overlap_bytes):
            self._large = self._large or TruncatedJson()
            self._large.feed(held[:-overlap_bytes])
            del held[:-overlap_bytes]

    def _begin(self) -> bool:
        held = self._held
        if len(held) < len(UTF8_BOM) and UTF8_BOM.startswith(held):
            return False
        if held.startswith(UTF8_BOM):
            del held[: len(UTF8_BOM)]
        self._begun = True
        return True

    def _end_frame(self, frame: bytearray) -> None:
        large, self._large = self._large, None
        if large is not None:
            large.feed(frame)
            frame = large.kept
            self.has_content = True  # a large frame always has content
            self._lost = self._lost or ("too_large" if large.is_lost else None)
        self._take(frame)

    def _take(self, frame: bytearray) -> None:
        framing = self._framing
        has_data = framing.has_data(frame)
        self.events += has_data
        self.empty_events += has_data and framing.is_empty(frame)
        matters = self._matters(frame)
        if matters and framing.is_error(frame):
            self._accumulator.failed = True
        if not has_data:
            if matters and not self.events and (document := parse(frame)) is not None:  # JSON sent as a stream
                self._look(document)
            return
        if not (self._looks or matters or not self.has_content):
            return
        document = parse(framing.unframe(frame))
        if document is not None:
            self._look(document)
            return
        documents = [one for part in framing.parts(frame) if (one := parse(part)) is not None]
        for one in documents:
            self._look(one)
        self.events += max(len(documents) - 1, 0)
        if not documents:
            if may_have_usage(frame):
                self._lost = self._lost or "not_json"
            self._look(None)

    def _look(self, document: object) -> None:
        if document is not None:
            self._accumulator.take(document)
        self.has_content = self.has_content or (not self._accumulator.failed and providers.has_content(document))
        self._looks = 0 if self._accumulator.model else max(self._looks - self.has_content, 0)
