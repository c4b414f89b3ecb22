"""A WebSocket's messages, each a document: OpenAI's Realtime and Responses, and Gemini's Live, whose frames are binary.

What a session used is the sum of its responses, or turns, of which each tells its own.
"""

from __future__ import annotations

from keygauge.usage.accumulator import DocumentsReader
from keygauge.usage.counts import Usage
from keygauge.usage.document import USAGE, parse
from keygauge.usage.providers import gemini
from keygauge.usage.reading import Reading

_MARK = USAGE.decode()
_SESSION = '"session"'


class MessageReader(DocumentsReader):
    """Read messages as they pass; those that cannot tell usage cost one search. Errors in them do not end a session."""

    failed = False
    is_final = False  # before the session ends

    def __init__(self) -> None:
        super().__init__()
        self.has_content = True

    @property
    def usage(self) -> Usage:
        """What the session has used so far."""
        return self._accumulator.usage

    @property
    def model(self) -> str | None:
        """The model of the last response."""
        return self._accumulator.model

    def feed(self, chunk: bytes) -> None:
        """Take the next message."""
        document = parse(chunk)
        if document is not None:
            self._accumulator.take(document)
            if gemini.ends_turn(document):
                self._accumulator.end_answer()

    def close(self, *, complete: bool) -> Reading:
        """Return what was read. A session may end at any time: what was told until then is all."""
        del complete
        return self._accumulator.read(complete=True)


def document_in(text: str | None, data: bytes | None, *, is_early: bool = False) -> bytes | None:
    """Return the document of a message that may tell usage, or, where it is an early one, the session's model."""
    if text is not None:
        return text.encode() if _MARK in text or (is_early and _SESSION in text) else None
    return data if data is not None and data.rfind(USAGE) >= 0 else None
