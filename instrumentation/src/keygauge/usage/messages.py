"""A WebSocket's messages, each a document: OpenAI's Realtime and Responses, and Gemini's Live, whose frames are binary.

Each response or turn of a session is an answer of its own, and so is each transcription, by another model.
"""

from __future__ import annotations

from keygauge.usage.accumulator import DocumentsReader
from keygauge.usage.counts import Usage
from keygauge.usage.document import USAGE, parse
from keygauge.usage.providers import gemini, openai
from keygauge.usage.reading import Others, Reading

_MARK = USAGE.decode()
_SESSION = '"session"'
_UPDATED = 'session.updated"'
_TURN_ENDS = b'"turnComplete"'
_TURN_ENDS_TEXT = _TURN_ENDS.decode()
_HEAD_CHARACTERS = 128  # where a message tells its type


class MessageReader(DocumentsReader):
    """Read messages as they pass; those that cannot tell usage cost one search. Errors in them do not end a session."""

    failed = False
    is_final = False  # before the session ends

    def __init__(self) -> None:
        super().__init__()
        self.has_content = True
        self._transcriber: str | None = None  # the transcription model

    @property
    def last(self) -> tuple[Usage, str | None]:
        """What the last response has used so far, and its model."""
        return self._accumulator.last

    def feed(self, chunk: bytes) -> None:
        """Take the next message."""
        document = parse(chunk)
        if document is not None:
            if isinstance(document, dict):
                self._transcriber = openai.name_transcriber(document, self._transcriber)
            self._accumulator.take(document)
            if gemini.ends_turn(document):
                self._accumulator.end_answer()

    def take_ended(self) -> Others:
        """Return the answers that are over, once each."""
        return self._accumulator.take_ended()

    def close(self, *, complete: bool) -> Reading:
        """Return what was read. A session may end at any time: what was told until then is all."""
        del complete
        return self._accumulator.read(complete=True)


def document_in(text: str | None, data: bytes | None, *, is_early: bool = False) -> bytes | None:
    """Return the document of a message that may contain usage, the end of a turn, or the session's models.

    The models are in an early message, or in one about an update.
    """
    if text is not None:
        is_of_use = (
            _MARK in text
            or (is_early and _SESSION in text)
            or text.find(_UPDATED, 0, _HEAD_CHARACTERS) >= 0
            or text.find(_TURN_ENDS_TEXT, 0, _HEAD_CHARACTERS) >= 0
        )
        return text.encode() if is_of_use else None
    is_of_use = data is not None and (data.rfind(USAGE) >= 0 or data.rfind(_TURN_ENDS) >= 0)
    return data if is_of_use else None
