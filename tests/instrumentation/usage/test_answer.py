import gzip
import json

import pytest

from keygauge.usage import Usage
from keygauge.usage.answer import kind_of, reader_for

BODY = json.dumps({"model": "m", "usage": {"prompt_tokens": 3, "completion_tokens": 4}}).encode()


@pytest.mark.parametrize(
    ("content_type", "is_document", "stream"),
    [
        ("application/json", True, None),
        ("Application/JSON; charset=utf-8", True, None),
        (" application/vnd.acme+json ", True, None),
        ("text/json", True, None),
        ("text/plain; a=json", False, None),
        ("text/html; charset=utf-8", False, None),
        ("text/event-stream;charset=utf-8", False, "sse"),
        ("application/x-ndjson", False, "ndjson"),
        ("application/vnd.amazon.eventstream", False, "eventstream"),
    ],
)
def test_kind_depends_only_on_the_media_type_as_str_or_bytes(content_type, is_document, stream):
    for header in (content_type, content_type.encode()):
        kind = kind_of(header)
        assert (kind.is_document, kind.stream) == (is_document, stream)
        assert kind.reader(None) is not None


@pytest.mark.parametrize("content_type", ["text/css", "image/png", "json", "text/css; a=json", "\u20ac"])
def test_other_kinds_carry_no_usage(content_type):
    assert kind_of(content_type).make is None
    assert reader_for(content_type, "gzip") is None


def test_encoded_answer_is_decoded_for_the_reader():
    for encoding in ("gzip", b"gzip", " GZIP"):
        reader = reader_for("application/json", encoding)
        reader.feed(gzip.compress(BODY))
        assert reader.close(complete=True).usage == Usage(3, 4)


def test_encoding_without_a_decoder_is_reported():
    for encoding in ("compress", "\u20ac"):
        reader = reader_for("application/json", encoding)
        reader.feed(BODY)
        assert reader.close(complete=True)[3:] == ("none", "undecodable")


def test_each_answer_has_its_own_reader():
    assert reader_for("application/json", None) is not reader_for("application/json", None)
