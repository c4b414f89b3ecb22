"""A WebSocket's messages, each a document: OpenAI's Realtime and Responses, and Gemini's Live, whose frames are binary.

What a session used is the sum of its responses, or turns, of which each tells its own.
"""

from __future__ import annotations

from keygauge.usage.accumulator import Accumulator
from keygauge.usage.counts import Usage
from keygauge.usage.document import USAGE, parse
from keygauge.usage.providers import gemini
from keygauge.usage.reading import Others, Reading

_MARK = USAGE.decode()


class MessageReader:
    """Read messages as they pass; those that cannot tell usage cost one search. Errors in them do not end a session."""

    failed = False
    has_content = True
    events = 0

    def __init__(self) -> None:
        self._accumulator = Accumulator()

    @property
    def is_final(self) -> bool:
        """Whether all is told: never, before the session ends."""
        return False

    @property
    def usage(self) -> Usage:
        """What the session has used so far."""
        return self._accumulator.usage

    @property
    def model(self) -> str | None:
        """The model of the last response."""
        return self._accumulator.model

    @property
    def answer(self) -> str | None:
        """The id of the first response."""
        return self._accumulator.id

    @property
    def others(self) -> Others:
        """What other models used for the answer."""
        return self._accumulator.others

    def feed(self, chunk: bytes) -> None:
        """Take the next message."""
        document = parse(chunk)
        if document is not None:
            self._accumulator.take(document)
            if gemini.ends_turn(document):
                self._accumulator.end_answer()

    def close(self, *, complete: bool) -> Reading:
        """Tell what was read. A session may end at any time: what was told until then is all."""
        del complete
        return self._accumulator.read(complete=True)


def document_in(text: str | None, data: bytes | None) -> bytes | None:
    """Return the document of a message that may tell usage."""
    if text is not None:
        return text.encode() if _MARK in text else None
    return data if data is not None and data.rfind(USAGE) >= 0 else None
