import pytest
from hypothesis import given
from hypothesis import strategies as st

from keygauge.usage import Usage
from keygauge.usage.formats.sse import read_events

TOLD = b'{"model":"m","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}'
ENDS = (b"\n", b"\r", b"\r\n")


def read(stream, cuts=()):
    reader, at = read_events(), 0
    for cut in (*sorted(cuts), len(stream)):
        reader.feed(stream[at:cut])
        at = cut
    return reader, reader.close(complete=True)


@given(st.sampled_from(ENDS), st.sampled_from(ENDS), st.data())
def test_any_line_break_ends_an_event_in_any_chunks(first, second, data):
    if first + second == b"\r\n":  # one line break, not two
        second = b"\r\n"
    stream = b"data: hello" + first + second + b"data: " + TOLD + first + second
    cuts = data.draw(st.sets(st.integers(0, len(stream)), max_size=4))
    reader, reading = read(stream, cuts)
    assert (reading.usage, reader.events) == (Usage(3, 4), 2)


def test_several_data_lines_are_one_document():
    half = TOLD.index(b'"usage"')
    stream = b"event: done\nid: 1\ndata: " + TOLD[:half] + b"\ndata:" + TOLD[half:] + b"\n\n"
    assert read(stream)[1].usage == Usage(3, 4)


@pytest.mark.parametrize("size", [1, 50, 10_000])
@pytest.mark.parametrize(
    "silent",
    [
        b'event: ping\ndata: {"type": "ping"}\n\n',
        b"event: ping\r\ndata: {}\r\n\r\n",
        b'event: keepalive\ndata: {"type":"keepalive","sequence_number":3}\n\n',
        b"data: [DONE]\n\n",
        b"data:[DONE]\r\n\r\n",
    ],
)
def test_keep_alives_and_the_end_marker_are_empty_events(silent, size):
    event = b'event: delta\ndata: {"model": "m", "choices": [{"delta": {"content": "ping [DONE]"}}]}\n\n'
    for stream, empty in ((event * 9 + silent, 1), (silent * 3 + event * 9, 3), ((silent + event) * 9, 9)):
        reader = read(stream, range(0, len(stream), size))[0]
        assert (reader.events, reader.empty_events) == (9 + empty, empty)


@pytest.mark.parametrize(
    ("stream", "events"),
    [(b": ping\n\n: ping\n\n", 0), (b"event: a\nid: 3\n\n", 0), (b"data: a\n\ndata: b\n\n", 2), (b"data:\n\n", 1)],
)
def test_only_events_with_data_are_counted(stream, events):
    assert read(stream)[0].events == events


@pytest.mark.parametrize(
    "event", [b"error: overloaded\n\n", b"event: error\ndata: {}\n\n", b'data: {"error":{"a":1}}\n\n']
)
def test_error_in_place_of_the_end_is_reported(event):
    assert read(b"data: a\n\n" + event)[0].failed


@pytest.mark.parametrize("event", [b'data: {"text":"an error: none"}\n\n', b": error\n\n", b'data: {"error":null}\n\n'])
def test_text_that_looks_like_an_error_is_not_an_error(event):
    assert not read(b"data: a\n\n" + event)[0].failed


def test_data_lines_without_empty_lines_between_are_separate_documents():
    chunk = b'data: {"model":"m","choices":[{"delta":{"content":"x"}}]}\n'
    reader, reading = read(chunk * 3 + b"data: " + TOLD + b"\ndata: [DONE]\n")
    assert (reading.usage, reading.model, reading.missing) == (Usage(3, 4), "m", None)
    assert reader.events == 4


def test_document_sent_as_a_stream_is_read():
    for body in (TOLD, b"\n" + TOLD + b"\n"):
        assert read(body, {3, 20})[1][:4] == (Usage(3, 4), "m", "openai", "reported")
    reader, reading = read(b'{"error":{"message":"overloaded"}}')
    assert (reader.failed, reader.has_content, reading.usage) == (True, False, None)


def test_error_is_not_content():
    assert not read(b'data: {"error":{"a":1}}\n\n')[0].has_content
    assert not read(b"event: error\ndata: {}\n\n")[0].has_content
    assert read(b'data: {"choices":[{"delta":{"content":"x"}}]}\n\ndata: {"error":{"a":1}}\n\n')[0].has_content
