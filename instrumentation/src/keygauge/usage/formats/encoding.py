"""Content encodings, decoded piecewise for a reader; the decoded size per chunk is bounded."""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any, Final

from keygauge.usage.reading import Missing, Others, Reader, Reading

MAX_DECODED_BYTES = 2**22  # per chunk
_PIECE_BYTES: Final = 2**16
_PLAIN: Final = frozenset({b"", b"identity"})
_MAX_WINDOW_BYTES: Final = 2**23  # RFC 9659: the window that zstd decoders must support over HTTP

Give = Callable[[bytes], None]
Decode = Callable[[bytes, Give], None]


class _TooMuchError(Exception):
    """A chunk decodes to more than `MAX_DECODED_BYTES`."""


class _EnoughError(Exception):
    """The reader needs no more of the body."""


class DecodedReader:
    """A reader that decodes chunks for another reader, up to the first that is broken or too large."""

    __slots__ = ("_decode", "_may_stop", "_missing", "_reader", "_room_bytes")

    def __init__(self, reader: Reader, decode: Decode | None) -> None:
        self._decode = decode
        self._may_stop = hasattr(reader, "is_done")
        self._missing: Missing | None = "undecodable" if decode is None else None
        self._reader = reader
        self._room_bytes = 0

    @property
    def failed(self) -> bool:
        """Whether the decoded part reported an error."""
        return self._reader.failed

    @property
    def has_content(self) -> bool:
        """Whether any content of the answer has passed; True if it cannot be decoded."""
        return self._decode is None or self._reader.has_content

    @property
    def events(self) -> int:
        """The number of decoded events."""
        return self._reader.events

    @property
    def empty_events(self) -> int:
        """The number of decoded events without content."""
        return self._reader.empty_events

    @property
    def is_final(self) -> bool:
        """Whether all usage has been reported."""
        return self._reader.is_final

    @property
    def is_rpc(self) -> bool:
        """Whether the answer is JSON-RPC."""
        return self._reader.is_rpc

    @property
    def answer(self) -> str | None:
        """The id of the answer."""
        return self._reader.answer

    @property
    def others(self) -> Others:
        """Other answers and other models' parts."""
        return self._reader.others

    def feed(self, chunk: bytes) -> None:
        """Read the next chunk."""
        if self._decode is None or not chunk:
            return
        self._room_bytes = MAX_DECODED_BYTES
        try:
            self._decode(bytes(chunk), self._give)
        except _EnoughError:
            self._decode = None
        except _TooMuchError:
            self._missing, self._decode = "too_large", None
        except Exception:  # noqa: BLE001 - each library has its own errors, and none may reach the host
            self._missing, self._decode = "undecodable", None

    def close(self, *, complete: bool) -> Reading:
        """Return the usage read up to the end, or until decoding stopped."""
        reading = self._reader.close(complete=complete and self._missing is None)
        self._decode = None
        if self._missing is None or reading.status == "reported":
            return reading
        return reading._replace(missing=self._missing)

    def _give(self, piece: bytes) -> None:
        self._room_bytes -= len(piece)
        if self._room_bytes < 0:
            raise _TooMuchError
        self._reader.feed(piece)
        if self._may_stop and self._reader.is_done:  # type: ignore[attr-defined]  # UntypedReader's
            raise _EnoughError


def can_decode(content_encoding: bytes) -> bool:
    """Return whether this machine has a decoder for a `Content-Encoding`."""
    name = content_encoding.strip().lower()
    make = _DECODERS.get(name)
    return name in _PLAIN or (make is not None and make() is not None)


def decode_for(reader: Reader, content_encoding: bytes) -> Reader:
    """Wrap a reader with the decoder for a `Content-Encoding`. Without a decoder, the result is `undecodable`."""
    name = content_encoding.strip().lower()
    if name in _PLAIN:
        return reader
    make = _DECODERS.get(name)
    return DecodedReader(reader, None if make is None else make())


def _decode_gzip() -> Decode:
    inflator = _gunzip()

    def decode(chunk: bytes, give: Give) -> None:
        nonlocal inflator
        while chunk:
            if inflator.eof:  # RFC 1952: more members may follow, or zero padding
                chunk = chunk.lstrip(b"\0")
                inflator = _gunzip() if chunk else inflator
            if chunk:
                _inflate(inflator, chunk, give)
                chunk = inflator.unused_data

    return decode


def _gunzip() -> Any:
    return zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)


def _inflate(inflator: Any, chunk: bytes, give: Give) -> None:
    while True:
        piece = inflator.decompress(chunk, _PIECE_BYTES)
        if piece:
            give(piece)
        chunk = inflator.unconsumed_tail
        if inflator.eof or (not chunk and len(piece) < _PIECE_BYTES):
            return


def _decode_deflate() -> Decode:
    start = b""
    inflator: Any = None

    def decode(chunk: bytes, give: Give) -> None:
        nonlocal start, inflator
        if inflator is None:
            start += chunk
            if len(start) < 2:  # noqa: PLR2004 - the header of RFC 1950 has two bytes
                return
            # "deflate" means RFC 1950, but some servers send bare RFC 1951.
            is_zlib = start[0] & 0x0F == zlib.DEFLATED and int.from_bytes(start[:2], "big") % 31 == 0
            inflator = zlib.decompressobj(wbits=zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)
            chunk, start = start, b""
        _inflate(inflator, chunk, give)
        if inflator.unused_data:
            raise zlib.error("data after the end of the stream")

    return decode


def brotli_decompressor() -> Any:
    """Return a decompressor of Brotli whose output can be limited; None if no such package is installed."""
    brotli = _find_module("brotli") or _find_module("brotlicffi")
    decompressor = brotli and brotli.Decompressor()
    return decompressor if hasattr(decompressor, "can_accept_more_data") else None  # before 1.2, it has no limit


def zstd_decompressor() -> Any:
    """Return a decompressor of Zstandard; None if no package for it is installed."""
    zstandard = _find_module("zstandard")
    return None if zstandard is None else zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES)


def _decode_brotli() -> Decode | None:
    decompressor = brotli_decompressor()
    if decompressor is None:
        return None

    def decode(chunk: bytes, give: Give) -> None:
        give(decompressor.process(chunk, output_buffer_limit=_PIECE_BYTES))
        while not decompressor.can_accept_more_data():
            give(decompressor.process(b"", output_buffer_limit=_PIECE_BYTES))

    return decode


def _decode_zstd() -> Decode | None:
    decompressor = zstd_decompressor()
    if decompressor is None:
        return None
    sink = _Sink()
    writer = decompressor.stream_writer(sink, write_size=_PIECE_BYTES, closefd=False)

    def decode(chunk: bytes, give: Give) -> None:
        sink.give = give
        writer.write(chunk)

    return decode


class _Sink:
    """The file that zstandard writes to."""

    give: Give

    def write(self, piece: bytes) -> int:
        self.give(piece)
        return len(piece)


@cache
def _find_module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


_DECODERS: dict[bytes, Callable[[], Decode | None]] = {
    b"gzip": _decode_gzip,
    b"x-gzip": _decode_gzip,
    b"deflate": _decode_deflate,
    b"br": _decode_brotli,
    b"zstd": _decode_zstd,
}
