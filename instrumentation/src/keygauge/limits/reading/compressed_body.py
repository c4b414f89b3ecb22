"""The content of a compressed body, if its ratio is normal for text: not if a kilobyte becomes a megabyte."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator

from keygauge.usage.formats.encoding import brotli_decompressor, zstd_decompressor

_BYTES = 1 << 16
_RATIO = 32

Texts = Iterator[bytes]


def inflate(body: bytes, encoding: str, *, most: int) -> list[bytes]:
    """Inflate a body to at most `most` bytes, in each format of its encoding in which it is complete.

    Empty if it is in none, has anything after its end, or is too large, and if its encoding cannot be decoded here.
    """
    read = _FORMATS.get(encoding)
    most = min(most, _BYTES + _RATIO * len(body))
    return [text for text in read(body, most) if len(text) <= most] if read is not None else []


def _zlib(body: bytes, most: int) -> Texts:
    for window in (zlib.MAX_WBITS | 32, -zlib.MAX_WBITS):  # gzip and zlib by their header; raw deflate
        try:
            inflater = zlib.decompressobj(window)
            text = inflater.decompress(body, most + 1)
        except zlib.error:
            continue
        if inflater.eof and not inflater.unused_data:
            yield text


def _brotli(body: bytes, most: int) -> Texts:
    inflater = brotli_decompressor()
    try:
        text = b"" if inflater is None else inflater.process(body, output_buffer_limit=most + 1)
    except Exception:  # noqa: BLE001 - each library has its own errors
        return
    if inflater is not None and inflater.is_finished():
        yield text


def _zstd(body: bytes, most: int) -> Texts:
    decompressor = zstd_decompressor()
    if decompressor is None:
        return
    try:
        if len(decompressor.stream_reader(body).read(most + 1)) > most:
            return
        inflater = decompressor.decompressobj()  # has no limit, but tells whether this was all
        text = inflater.decompress(body)
    except Exception:  # noqa: BLE001 - as above
        return
    if inflater.eof and not inflater.unused_data:
        yield text


_FORMATS: dict[str, Callable[[bytes, int], Texts]] = {
    **dict.fromkeys(("gzip", "x-gzip", "deflate"), _zlib),
    "br": _brotli,
    "zstd": _zstd,
}
