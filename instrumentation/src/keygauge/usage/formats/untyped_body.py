"""A body whose content type does not say what it is: an event stream or JSON by its first bytes, else text.

Apps send these if they set no type for a stream: Starlette then sends none, Flask sends HTML.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from keygauge.usage.document import UTF8_BOM
from keygauge.usage.formats.json_body import BodyReader
from keygauge.usage.formats.sse import begins_as_events, read_events
from keygauge.usage.reading import Others, Reader, Reading

_ENOUGH_BYTES: Final = 6  # length of the longest event field name, with its colon
_SPACE: Final = b" \t\r\n"
_NOTHING: Final = Reading(None, None, None, "none", None)


class UntypedReader(Struct, eq=False, gc=False):  # never part of a cycle
    """Reader of bodies that begin as events or JSON; nothing is held of other text."""

    _begun: bool = False
    _head: bytes = b""  # too short to recognize
    _reader: Reader | None = None

    @property
    def failed(self) -> bool:
        """Whether it reported an error."""
        return self._reader is not None and self._reader.failed

    @property
    def has_content(self) -> bool:
        """Whether any content of the answer has passed; text is all content."""
        return self._reader is None or self._reader.has_content

    @property
    def events(self) -> int:
        """The number of events of a stream that have passed."""
        return 0 if self._reader is None else self._reader.events

    @property
    def empty_events(self) -> int:
        """The number of events without content."""
        return 0 if self._reader is None else self._reader.empty_events

    @property
    def is_final(self) -> bool:
        """Whether all usage has been reported; text has none."""
        return self._reader is None or self._reader.is_final

    @property
    def is_rpc(self) -> bool:
        """Whether the answer is JSON-RPC."""
        return self._reader is not None and self._reader.is_rpc

    @property
    def answer(self) -> str | None:
        """The id of the answer."""
        return None if self._reader is None else self._reader.answer

    @property
    def others(self) -> Others:
        """Other answers and other models' parts."""
        return () if self._reader is None else self._reader.others

    @property
    def is_done(self) -> bool:
        """Whether it is other text, so that the rest can be ignored."""
        return self._begun and self._reader is None

    def feed(self, chunk: bytes) -> None:
        """Read the next chunk."""
        if self._reader is not None:
            self._reader.feed(chunk)
        elif not self._begun:
            self._begin(self._head + bytes(chunk))

    def close(self, *, complete: bool) -> Reading:
        """Return the usage that was read; none for text that only looked like an answer."""
        reading = _NOTHING if self._reader is None else self._reader.close(complete=complete)
        return _NOTHING if reading.usage is None and reading.model is None else reading

    def _begin(self, head: bytes) -> None:
        text = head.removeprefix(UTF8_BOM).lstrip(_SPACE)
        is_json = text.startswith((b"{", b"["))
        if len(text) < _ENOUGH_BYTES and not is_json:
            self._head = head[-_ENOUGH_BYTES - len(UTF8_BOM) :]
            return
        self._begun, self._head = True, b""
        if is_json:
            self._reader = BodyReader()
        elif begins_as_events(text):
            self._reader = read_events()
        if self._reader is not None:
            self._reader.feed(head)
