"""Content encodings: bombs, broken streams, missing decoders."""

import gzip
import sys
import zlib

import brotli
import pytest
import zstandard
from memory import peaks_below

from keygauge.usage import Usage, reader_for
from keygauge.usage.formats import encoding

BODY = b'{"model": "m", "usage": {"prompt_tokens": 3, "completion_tokens": 4}}'
EVENT = b"data: " + BODY + b"\n\n"
BOMB = b" " * 32_000_000


def read(content_encoding, *chunks, content_type=b"application/json"):
    reader = reader_for(content_type, content_encoding)
    for chunk in chunks:
        reader.feed(chunk)
    return reader.close(complete=True)


@pytest.mark.parametrize("name", [None, b"", b"identity", b" Identity "])
def test_identity_is_not_decoded(name):
    assert read(name, BODY).usage == Usage(3, 4)


@pytest.mark.parametrize("name", [b"gzip", b"x-gzip", b" GZip "])
def test_names_are_case_insensitive(name):
    assert read(name, gzip.compress(BODY)).usage == Usage(3, 4)


@pytest.mark.parametrize("name", [b"compress", b"gzip, br", b"\xff", b"aws-chunked"])
def test_unknown_encoding_is_undecodable(name):
    assert read(name, BODY) == (None, None, None, "none", "undecodable")


@pytest.mark.parametrize("name", [b"gzip", b"deflate", b"br", b"zstd"])
@pytest.mark.parametrize("body", [b"\x00" * 50, b"\xff" * 50, BODY, b"\x78\x9c" + b"\xff" * 20])
def test_broken_stream_is_undecodable(name, body):
    reading = read(name, body, body)
    assert (reading.usage, reading.status, reading.missing) == (None, "none", "undecodable")


@pytest.mark.parametrize(
    ("name", "bomb"),
    [
        (b"gzip", gzip.compress(BOMB, mtime=0)),
        (b"deflate", zlib.compress(BOMB)),
        (b"br", brotli.compress(BOMB, quality=5)),
        (b"zstd", zstandard.compress(BOMB)),
    ],
)
@pytest.mark.parametrize("content_type", [b"application/json", b"text/event-stream"])
def test_bomb_is_decoded_only_up_to_the_limit(name, bomb, content_type):
    read(name, b"", content_type=content_type)  # do not measure imports

    def decode():
        reading = read(name, bomb, content_type=content_type)
        assert (reading.usage, reading.status, reading.missing) == (None, "none", "too_large")

    assert peaks_below(2 * encoding.MAX_DECODED_BYTES, decode)


def test_zstd_window_larger_than_the_standard_is_undecodable():
    parameters = zstandard.ZstdCompressionParameters(window_log=27)
    frame = zstandard.ZstdCompressor(compression_params=parameters).compressobj().compress(b"x")
    frame += zstandard.ZstdCompressor(compression_params=parameters).compress(BOMB[: 2**24])
    assert read(b"zstd", frame).missing == "undecodable"


def test_usage_before_a_break_in_the_stream_is_kept():
    compressor = zlib.compressobj(wbits=31)
    told = compressor.compress(EVENT) + compressor.flush(zlib.Z_SYNC_FLUSH)
    reading = read(b"gzip", told, b"\xff" * 30, content_type=b"text/event-stream")
    assert (reading.usage, reading.status) == (Usage(3, 4), "reported")
    running = EVENT.replace(b'"model"', b'"choices": [{}], "model"')
    compressor = zlib.compressobj(wbits=31)
    told = compressor.compress(running) + compressor.flush(zlib.Z_SYNC_FLUSH)
    reading = read(b"gzip", told, b"\xff" * 30, content_type=b"text/event-stream")
    assert (reading.usage, reading.status, reading.missing) == (Usage(3, 4), "partial", "undecodable")


def test_events_are_read_as_they_are_flushed():
    compressor = zlib.compressobj(wbits=31)
    reader = reader_for(b"text/event-stream", b"gzip")
    for _ in range(3):
        reader.feed(compressor.compress(EVENT) + compressor.flush(zlib.Z_SYNC_FLUSH))
    assert reader.close(complete=False).usage == Usage(3, 4)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_consecutive_gzip_members_are_read(size):
    body = b"".join(gzip.compress(BODY[start : start + 20]) for start in range(0, len(BODY), 20)) + b"\0" * 30
    chunks = [body[start : start + size] for start in range(0, len(body), size)]
    assert read(b"gzip", *chunks) == read(None, BODY)


def test_garbage_after_the_end_is_not_kept():
    reader = reader_for(b"application/json", b"gzip")
    reader.feed(gzip.compress(BODY))
    for _ in range(3):
        reader.feed(b"garbage" * 10)
    assert reader._decode is None
    assert reader.close(complete=True).usage == Usage(3, 4)


@pytest.mark.parametrize(("name", "modules"), [(b"br", ["brotli", "brotlicffi"]), (b"zstd", ["zstandard"])])
def test_missing_decoder_means_undecodable(name, modules, monkeypatch):
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)
    encoding._find_module.cache_clear()
    try:
        assert read(name, BODY) == (None, None, None, "none", "undecodable")
    finally:
        encoding._find_module.cache_clear()


def test_brotli_without_an_output_limit_is_not_used(monkeypatch):
    class Decompressor:
        def process(self, data):
            raise AssertionError(data)

    module = type(sys)("brotli")
    module.Decompressor = Decompressor
    monkeypatch.setitem(sys.modules, "brotli", module)
    encoding._find_module.cache_clear()
    try:
        assert read(b"br", brotli.compress(BODY)).missing == "undecodable"
    finally:
        encoding._find_module.cache_clear()


@pytest.mark.parametrize(
    ("content_type", "is_read"),
    [
        (None, True),
        (b"", True),
        (b"text/html; charset=utf-8", True),
        (b"image/svg+xml", False),
        (b"text/plain", True),
        (b"\xff\xfe", False),
        (b"application/json", True),
        (b"Application/JSON ; charset=utf-8", True),
        (b"application/problem+json", True),
        (b"application/vnd.api+json", True),
        (b"application/x-ndjson", True),
        (b"application/jsonl", True),
        (b"text/event-stream;charset=UTF-8", True),
    ],
)
def test_content_type_determines_the_reader(content_type, is_read):
    assert (reader_for(content_type, None) is not None) is is_read
