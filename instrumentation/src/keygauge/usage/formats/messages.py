"""WebSocket messages, each a JSON document: OpenAI's Realtime and Responses, and Gemini Live, which uses binary frames.

Each response or turn of a session is a separate answer, and so is each transcription, which another model makes.
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
_HEAD_CHARACTERS = 128  # a message's type is within these


class MessageReader(DocumentsReader):
    """Reader of a session's messages as they pass. Errors in them do not end a session."""

    failed = False
    is_final = False  # until the session ends

    def __init__(self) -> None:
        super().__init__()
        self.has_content = True
        self._transcriber: str | None = None  # the transcription model

    @property
    def last(self) -> tuple[Usage, str | None]:
        """The usage of the last response so far, and its model."""
        return self._accumulator.last

    def feed(self, chunk: bytes) -> None:
        """Read the next message."""
        document = parse(chunk)
        if document is not None:
            if isinstance(document, dict):
                self._transcriber = openai.name_transcriber(document, self._transcriber)
            self._accumulator.take(document)
            if gemini.ends_turn(document):
                self._accumulator.end_answer()

    def take_ended(self) -> Others:
        """Return the answers that have ended, once each."""
        return self._accumulator.take_ended()

    def close(self, *, complete: bool) -> Reading:
        """Return the usage that was read. A session may end at any time, so it always counts as complete."""
        del complete
        return self._accumulator.read(complete=True)


def document_in(text: str | None, data: bytes | None, *, is_early: bool = False) -> bytes | None:
    """Return a message's document if it may contain usage, the end of a turn, or the session's models; else None.

    The models are in an early message or in a `session.updated`.
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
