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
def test_a_kind_is_told_by_the_media_type_alone_as_text_and_as_bytes(content_type, is_document, stream):
    for header in (content_type, content_type.encode()):
        kind = kind_of(header)
        assert (kind.is_document, kind.stream) == (is_document, stream)
        assert kind.reader(None) is not None


@pytest.mark.parametrize("content_type", ["text/css", "image/png", "json", "text/css; a=json", "\u20ac"])
def test_other_kinds_carry_no_usage(content_type):
    assert kind_of(content_type).make is None
    assert reader_for(content_type, "gzip") is None


def test_an_encoded_answer_is_decoded_on_its_way_to_the_reader():
    for encoding in ("gzip", b"gzip", " GZIP"):
        reader = reader_for("application/json", encoding)
        reader.feed(gzip.compress(BODY))
        assert reader.close(complete=True).usage == Usage(3, 4)


def test_an_encoding_that_nothing_decodes_says_so():
    for encoding in ("compress", "\u20ac"):
        reader = reader_for("application/json", encoding)
        reader.feed(BODY)
        assert reader.close(complete=True)[3:] == ("none", "undecodable")


def test_each_answer_has_a_reader_of_its_own():
    assert reader_for("application/json", None) is not reader_for("application/json", None)
