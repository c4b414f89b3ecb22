"""Amazon's binary event streams: messages of Converse and InvokeModel, in chunks of any size."""

import base64
import json

import pytest
from bodies import message

from keygauge.usage import Usage, reader_for
from keygauge.usage.formats.event_stream import MAX_MESSAGE_BYTES


def invoked(event):
    return message({"bytes": base64.b64encode(json.dumps(event).encode()).decode(), "p": "abc"}, event_type="chunk")


CONVERSE = [
    message({"role": "assistant"}, event_type="messageStart"),
    message({"contentBlockIndex": 0, "delta": {"text": "Hi"}}, event_type="contentBlockDelta"),
    message({"stopReason": "end_turn"}, event_type="messageStop"),
    message({"metrics": {"latencyMs": 9}, "usage": {"inputTokens": 47, "outputTokens": 20}}, event_type="metadata"),
]
METRICS = {"inputTokenCount": 25, "outputTokenCount": 15}
CLAUDE = [
    invoked({"type": "message_start", "message": {"id": "m", "usage": {"input_tokens": 25, "output_tokens": 1}}}),
    invoked({"type": "content_block_delta", "delta": {"text": "Hi"}}),
    invoked({"type": "message_delta", "delta": {}, "usage": {"output_tokens": 15}}),
    invoked(
        {"type": "message_stop", "amazon-bedrock-invocationMetrics": {"inputTokenCount": 25, "outputTokenCount": 15}}
    ),
]


def read(stream, size, *, complete=True):
    reader = reader_for(b"application/vnd.amazon.eventstream", None)
    for start in range(0, len(stream), size):
        reader.feed(stream[start : start + size])
    return reader, reader.close(complete=complete)


@pytest.mark.parametrize(("messages", "usage"), [(CONVERSE, Usage(47, 20)), (CLAUDE, Usage(25, 15))])
@pytest.mark.parametrize("size", [1, 7, 100, 10_000])
def test_messages_are_read_in_chunks_of_any_size(messages, usage, size):
    reader, reading = read(b"".join(messages), size)
    assert (reading.usage, reading.provider, reading.status) == (usage, "aws.bedrock", "reported")
    assert (reader.events, reader.failed) == (4, False)


def test_too_large_message_is_skipped_and_the_next_one_read():
    large = message(b'{"image":"' + b"x" * MAX_MESSAGE_BYTES + b'"}', event_type="contentBlockDelta")
    for size in (1_000, 65_536, 2 * len(large)):
        assert read(large + b"".join(CONVERSE), size)[1].usage == Usage(47, 20)
    assert read(large, 1_000)[1][3:] == ("none", "too_large")


def test_impossible_length_stops_reading():
    reader, reading = read(CONVERSE[0] + b"\0" * 40 + CONVERSE[-1], 10)
    assert reading[3:] == ("none", "undecodable")
    assert not reader._held


def test_exception_is_an_error():
    failed = message({"message": "Too many"}, exception_type="throttlingException", message_type="exception")
    reader, reading = read(CLAUDE[0] + failed, 50, complete=False)
    assert reader.failed
    assert (reading.usage, reading.status) == (Usage(25, 1), "partial")


@pytest.mark.parametrize(
    "headers",
    [
        {"message_type": "error", "error_code": "InternalError", "error_message": "Try again"},
        {"error_message": "Try again", "error_code": "InternalError", "message_type": "error"},
        {"message_type": "error"},
    ],
)
@pytest.mark.parametrize("size", [1, 50, 10_000])
def test_error_reported_only_in_headers_is_an_error(headers, size):
    reader, reading = read(CLAUDE[0] + message(b"", **headers), size, complete=False)
    assert reader.failed
    assert (reading.usage, reading.status) == (Usage(25, 1), "partial")


def test_event_type_named_like_an_error_is_not_an_error():
    assert not read(message({}, event_type="error", message_type="event"), 50)[0].failed
