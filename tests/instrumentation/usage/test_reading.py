"""Guarantees of every reader, for any input."""

import pytest

from keygauge.usage.formats.event_stream import EventStreamReader
from keygauge.usage.formats.json_body import BodyReader
from keygauge.usage.formats.messages import MessageReader
from keygauge.usage.formats.ndjson import read_lines
from keygauge.usage.formats.sse import read_events
from keygauge.usage.reading import Reading

MAKERS = [BodyReader, EventStreamReader, MessageReader, read_events, read_lines]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("body", [b"", b"\x00\xff" * 500, b"{" * 1000, b'"usage":' * 200, b"\r\n\r\n", b"data: {\n\n"])
def test_no_reader_raises_and_each_reports_what_is_missing(make, body):
    for is_complete in (True, False):
        reader = make()
        for at in range(0, len(body), 7):
            reader.feed(body[at : at + 7])
        reading = reader.close(complete=is_complete)
        assert isinstance(reading, Reading)
        assert (reading.usage, reading.status) == (None, "none")
        assert reading.missing in {"no_usage", "not_json", "cut", "undecodable", "too_large"}


@pytest.mark.parametrize("make", MAKERS)
def test_unused_reader_reports_nothing(make):
    reader = make()
    assert (reader.failed, reader.events, reader.is_final, reader.answer, list(reader.others)) == (
        False,
        0,
        False,
        None,
        [],
    )
