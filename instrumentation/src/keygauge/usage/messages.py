"""A WebSocket's messages, each a document: OpenAI's Realtime, and Responses over WebSocket."""

from __future__ import annotations

from keygauge.usage.accumulator import Accumulator
from keygauge.usage.document import USAGE, parse
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

    def close(self, *, complete: bool) -> Reading:
        """Tell what was read. A session may end at any time: what was told until then is all."""
        del complete
        return self._accumulator.read(complete=True)


def may_tell(text: str) -> bool:
    """Tell whether a message may tell usage."""
    return _MARK in text
