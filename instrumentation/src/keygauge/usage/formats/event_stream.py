"""Amazon's binary event streams, sent by Bedrock's ConverseStream and InvokeModelWithResponseStream.

Each message starts with its length, the length of its headers and a checksum, four bytes each, followed by headers,
payload and a checksum. The payload is JSON; for InvokeModel it holds the model's own event as base64 in `bytes`.

https://docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html
"""

from __future__ import annotations

import binascii
from typing import Any, Final

from keygauge.usage import providers
from keygauge.usage.accumulator import DocumentsReader
from keygauge.usage.document import parse
from keygauge.usage.reading import Missing, Reading

MAX_MESSAGE_BYTES: Final = 2**20  # longer messages are skipped
_PRELUDE_BYTES: Final = 12
_CHECKSUM_BYTES: Final = 4
_FAILURES: Final = (b":exception-type", b":error-code", b":message-type\x07\0\x05error")


class EventStreamReader(DocumentsReader):
    """Reader of messages as they pass; only the unfinished one is held in memory."""

    def __init__(self) -> None:
        super().__init__()
        self._held = bytearray()
        self._lost: Missing | None = None
        self._skip_bytes = 0  # left of a message that is too long

    def feed(self, chunk: bytes) -> None:
        """Read the next chunk."""
        skipped = min(self._skip_bytes, len(chunk))
        self._skip_bytes -= skipped
        held = self._held
        held += chunk[skipped:]
        while len(held) >= _PRELUDE_BYTES and not self._skip_bytes:
            size = int.from_bytes(held[:4], "big")
            if size < _PRELUDE_BYTES + _CHECKSUM_BYTES or size > MAX_MESSAGE_BYTES:
                self._skip(size)
            elif len(held) < size:
                return
            else:
                self._take(bytes(held[:size]))
                del held[:size]

    def close(self, *, complete: bool) -> Reading:
        """Return the usage that was read."""
        self._held = bytearray()
        return self._accumulator.read(complete=complete, reason=self._lost)

    def _skip(self, size: int) -> None:
        """Skip a message. If its length is impossible, skip the rest of the stream: message boundaries are unknown."""
        is_sound = size > MAX_MESSAGE_BYTES
        self._lost = "too_large" if is_sound else "undecodable"
        self._skip_bytes = max(size - len(self._held), 0) if is_sound else 2**63
        del self._held[: size if is_sound else None]

    def _take(self, message: bytes) -> None:
        headers_end = _PRELUDE_BYTES + int.from_bytes(message[4:8], "big")
        headers = message[_PRELUDE_BYTES:headers_end]
        if any(name in headers for name in _FAILURES):
            self._accumulator.failed = True
        document = _unwrap(parse(message[headers_end:-_CHECKSUM_BYTES]))
        self.events += 1
        if document is not None:
            self._accumulator.take(document)
            self.has_content = self.has_content or providers.has_content(document)


def _unwrap(document: Any) -> Any:
    """Return the event that InvokeModel wraps in base64; other documents unchanged."""
    inner = document.get("bytes") if isinstance(document, dict) else None
    if not isinstance(inner, str):
        return document
    try:
        return parse(binascii.a2b_base64(inner))
    except (ValueError, binascii.Error):
        return None
