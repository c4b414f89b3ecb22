"""Compressed bodies are inflated in every encoding that can be decoded here, within bounds."""

import gzip
import sys
import zlib

import brotli
import pytest
import zstandard

from keygauge.limits.reading.compressed_body import inflate
from keygauge.limits.reading.request_fields import BODY_BYTES_MAX
from keygauge.usage.formats import encoding as encodings

JSON = b'{"model": "a"}'


def deflate(body):
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(body) + compressor.flush()


def zstd(body):
    """Compress without the size in the header, as streams are."""
    return zstandard.ZstdCompressor(write_content_size=False).compress(body)


ENCODINGS = [
    pytest.param("gzip", gzip.compress, id="gzip"),
    pytest.param("x-gzip", gzip.compress, id="x-gzip"),
    pytest.param("deflate", zlib.compress, id="zlib"),
    pytest.param("deflate", deflate, id="deflate"),
    pytest.param("br", brotli.compress, id="br"),
    pytest.param("zstd", zstandard.compress, id="zstd"),
    pytest.param("zstd", zstd, id="zstd stream"),
]
REPEATED = {
    "objects": b'{"a": [' + b"{}," * 340_000 + b"{}]}",
    "members": b"{" + b'"model": "a",' * 70_000 + b'"a": 0}',
    "requests": b'{"requests": [' + b'{"model": "a"},' * 60_000 + b"{}]}",
    "a text": b'{"a": "' + b"a" * 1_000_000 + b'"}',
    "a bomb": b" " * 2**28,
}


def read(body, encoding):
    return inflate(body, encoding, most=BODY_BYTES_MAX)


@pytest.mark.parametrize(("encoding", "compress"), ENCODINGS)
def test_a_body_is_inflated_if_it_is_complete_and_nothing_follows(encoding, compress):
    body = compress(JSON)
    assert read(body, encoding) == [JSON]
    for other in (body[:-1], body + b"x", body + body, JSON, b""):
        assert read(other, encoding) == []


def test_what_follows_an_empty_zstd_frame_is_not_overlooked():
    skippable = b"\x50\x2a\x4d\x18" + (3).to_bytes(4, "little") + b"abc"
    for body in (zstd(b"") + zstd(JSON), zstandard.compress(b"") + zstd(JSON), skippable + zstd(JSON)):
        assert read(body, "zstd") == []


@pytest.mark.parametrize("text", REPEATED.values(), ids=REPEATED)
@pytest.mark.parametrize(("encoding", "compress"), ENCODINGS)
def test_bodies_with_extreme_compression_ratios_are_not_read(encoding, compress, text):
    assert read(compress(text), encoding) == []


def test_other_encodings_are_not_read():
    assert read(JSON, "compress") == []


@pytest.mark.parametrize(("name", "modules"), [("br", ["brotli", "brotlicffi"]), ("zstd", ["zstandard"])])
def test_an_encoding_whose_package_is_not_installed_is_not_read(name, modules, monkeypatch):
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)
    encodings._find_module.cache_clear()
    try:
        body = brotli.compress(JSON) if name == "br" else zstandard.compress(JSON)
        assert read(body, name) == []
    finally:
        monkeypatch.undo()
        encodings._find_module.cache_clear()
