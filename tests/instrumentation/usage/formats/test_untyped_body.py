"""Bodies whose content type does not say what they are."""

import gzip
import json

import pytest

from keygauge.usage import Usage, reader_for
from keygauge.usage.formats.untyped_body import UntypedReader

TOLD = {"id": "c", "model": "gpt-4o", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}
EVENTS = b"data: " + json.dumps({**TOLD, "usage": None}).encode() + b"\n\ndata: " + json.dumps(TOLD).encode() + b"\n\n"
DOCUMENT = json.dumps(TOLD).encode()


def read(body, size=None):
    reader = reader_for(None, None)
    for start in range(0, len(body), size or len(body) or 1):
        reader.feed(body[start : start + (size or len(body))])
    return reader, reader.close(complete=True)


@pytest.mark.parametrize("content_type", [None, "", b"text/plain; charset=utf-8", "text/html"])
def test_bodies_without_a_type_and_text_are_inspected(content_type):
    assert isinstance(reader_for(content_type, None), UntypedReader)
    assert (reader_for(content_type, "gzip") is None) is (content_type == "text/html")
    assert reader_for(content_type, "compress") is None


def test_text_with_identity_encoding_is_not_decoded():
    reader = reader_for("text/plain", "identity")
    reader.feed(DOCUMENT)
    assert reader.close(complete=True).usage == Usage(3, 4)


@pytest.mark.parametrize("size", [3, None])
def test_compressed_text_is_decoded_until_known_to_have_no_usage(size):
    def read_gzip(text):
        reader, body = reader_for("text/plain", "gzip"), gzip.compress(text)
        for start in range(0, len(body), size or len(body)):
            reader.feed(body[start : start + (size or len(body))])
        return reader._decode, reader.close(complete=True)

    assert read_gzip(EVENTS)[1][:4] == (Usage(3, 4), "gpt-4o", "openai", "reported")
    assert read_gzip(b"usage: " * 2**20) == (None, (None, None, None, "none", None))


@pytest.mark.parametrize("size", [1, 2, 5, None])
@pytest.mark.parametrize(
    "body",
    [
        *(EVENTS, b"\xef\xbb\xbf" + EVENTS, b": ping\n\n" + EVENTS, b"event: x\n" + EVENTS, b"\r\n\r\n" + EVENTS),
        *(DOCUMENT, b"\xef\xbb\xbf" + DOCUMENT, b" \n" + DOCUMENT),
    ],
)
def test_streams_and_documents_are_recognized_by_their_beginning(body, size):
    reader, reading = read(body, size)
    assert reading == (Usage(3, 4), "gpt-4o", "openai", "reported", None)
    assert (reader.answer, reader.failed, list(reader.others)) == ("c", False, [])


def test_events_are_counted_and_errors_reported():
    reader, _ = read(EVENTS)
    assert (reader.events, reader.has_content, reader.is_final) == (2, False, True)
    reader, _ = read(b'data: {"error": {"message": "overloaded"}}\n\n')
    assert (reader.failed, reader.has_content) == (True, False)


@pytest.mark.parametrize(
    "body", [b"", b"hi", b"   ", b"# HELP usage tokens\n", b"{{ usage }}", b"<p>usage</p>", b"dat"]
)
def test_other_text_has_no_usage_and_is_not_kept(body):
    reader, reading = read(body, 2)
    assert reading == (None, None, None, "none", None)
    assert (reader.events, reader.has_content, reader.failed) == (0, True, False)
    reader.feed(b"x" * 2**20)
    assert len(reader._head) < 10
