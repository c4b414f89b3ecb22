"""Events and lines: the framing rules, bounded memory, and text that only looks like usage."""

import json
import random

import pytest

from keygauge.usage import Usage, reader_for
from keygauge.usage.formats.stream import MAX_FRAME_BYTES

TOLD = {"model": "m", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}
TEXT = json.dumps(TOLD)


def feed_events(*chunks, complete=True):
    reader = reader_for(b"text/event-stream", None)
    for chunk in chunks:
        reader.feed(chunk if isinstance(chunk, bytes) else chunk.encode())
    return reader.close(complete=complete)


@pytest.mark.parametrize(
    "stream",
    [
        f"data: {TEXT}\n\n",
        f"data:{TEXT}\n\n",
        f"data: {TEXT}\r\r",
        f"data: {TEXT}\n\r\n",
        f"data: {TEXT}\r\n\n",
        f"\ufeffdata: {TEXT}\n\n",
        f"\n\n\ndata: {TEXT}\n\n\n",
        f": ping\n\ndata: {TEXT}\n\n: ping\n\n",
        f"id: 1\nevent: usage\nretry: 10\n:comment\ndata: {TEXT}\n\n",
        "data: " + json.dumps(TOLD, indent=1).replace("\n", "\ndata: ") + "\n\n",
        "data\ndata:\n" + f"data: {TEXT}\ndata\n\n",
        f"data: {TEXT}\n\ndata: [DONE]\n\n",
        f"data: {TEXT}\n",
        f"data: {TEXT}",
        f"data: hello\n\ndata: {TEXT}\n\n",
        f'data: {{"usage": null}}\n\ndata: {TEXT}\n\ndata: {{"usage":null}}\n\n',
    ],
)
def test_events_are_framed_per_the_standard(stream):
    raw = stream.encode()
    for size in (1, 2, 3, len(raw)):
        chunks = [raw[start : start + size] for start in range(0, len(raw), size)]
        assert feed_events(*chunks)[:4] == (Usage(3, 4), "m", "openai", "reported")


@pytest.mark.parametrize(
    "stream",
    [
        f": {TEXT}\n\n",
        f"dat: {TEXT}\n\n",
        f"datax: {TEXT}\n\n",
        f" data: {TEXT}\n\n",
        f"event: {TEXT}\n\n",
        f"x\ufeffdata: {TEXT}\n\n",
        f"data: {TEXT[:30]}\n\ndata: {TEXT[30:]}\n\n",
        f'data: {{"usage":null,"text":{json.dumps(TEXT)}}}\n\n',
        f"data: {json.dumps(TEXT)}\n\n",
        'data: {"delta":{"usage":{"prompt_tokens":3}}}\n\n',
        'data: {"usage":3}\n\n',
        'data: {"usage":{}}\n\n',
        'data: {"usage":{"prompt_tokens":null,"completion_tokens":null}}\n\n',
        'data: {"usage":{"prompt_tokens":3}\n\n',
        "data: [[[[[\n\n",
        "",
    ],
)
def test_text_that_looks_like_usage_is_not_counted(stream):
    raw = stream.encode()
    assert feed_events(raw).usage is None
    assert feed_events(*[raw[i : i + 1] for i in range(len(raw))]).usage is None


def test_marker_split_between_chunks_is_found():
    told = f"data: {TEXT}\n\n".encode()
    before = b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n'
    for place in range(len(told)):
        assert feed_events(before * 5, told[:place], told[place:]).usage == Usage(3, 4)


def test_null_usage_does_not_hide_a_count_in_the_same_chunk():
    assert feed_events(b"data: {}\n\n" * 5, f'data: {{"usage":null}}\n\ndata: {TEXT}\n\n').usage == Usage(3, 4)
    assert feed_events(b"data: {}\n\n" * 5, f'data: {TEXT}\n\ndata: {{"usage":null}}\n\n').usage == Usage(3, 4)


def test_only_the_first_documents_are_searched_for_a_model():
    named = b'data: {"model":"late"}\n\n'
    assert feed_events(b": ping\n\n" * 50, b"data: {}\n\n" * 3, named).model == "late"
    assert feed_events(b"data: {}\n\n" * 4, named).model is None
    assert feed_events(b"data: hello\n\n" * 4, named).model is None


@pytest.mark.parametrize("model", ["", 3, None, ["m"], "m" * 257])
def test_invalid_model_name_is_ignored(model):
    assert feed_events("data: " + json.dumps({**TOLD, "model": model}) + "\n\n").model is None


def test_last_usage_wins():
    def told(output, choices):
        counts = {"prompt_tokens": 3, "completion_tokens": output}
        return "data: " + json.dumps({"choices": choices, "usage": counts}) + "\n\n"

    running = [{"finish_reason": None}]
    assert feed_events(told(1, running), told(2, running), told(9, [])).usage == Usage(3, 9)
    cut = feed_events(told(1, running), told(2, running), complete=False)
    assert (cut.usage, cut.status, cut.missing) == (Usage(3, 2), "partial", "cut")


def test_bad_counts_are_ignored_without_hiding_good_ones():
    bad = 'data: {"choices":[{}],"usage":{"prompt_tokens":-3,"completion_tokens":4}}\n\n'
    good = f"data: {TEXT}\n\n"
    assert feed_events(bad) == (Usage(None, 4), None, "openai", "partial", "bad_counts")
    assert feed_events(bad, good)[3:] == ("reported", None)
    assert feed_events(good, bad) == (Usage(3, 4), "m", "openai", "partial", "bad_counts")


def test_anthropic_stream_with_a_bad_start_is_partial():
    start = {"type": "message_start", "message": {"type": "message", "usage": {"input_tokens": -1}}}
    delta = {"type": "message_delta", "usage": {"output_tokens": 7}}
    reading = feed_events(*(f"data: {json.dumps(event)}\n\n" for event in (start, delta)))
    assert (reading.usage, reading.status, reading.missing) == (Usage(None, 7), "partial", "bad_counts")


IMAGE = "iVBORw0KGgo" * (MAX_FRAME_BYTES // 8)


@pytest.mark.parametrize(
    "document",
    [
        {**TOLD, "image": IMAGE},
        {"image": IMAGE, **TOLD},
        {"first": IMAGE, **TOLD, "last": list(range(200_000))},
        {"type": "response.completed", "response": {"output": [{"result": IMAGE}], "more": IMAGE, **TOLD}},
    ],
    ids=["before", "after", "around", "inside"],
)
@pytest.mark.parametrize("size", [1_000, 65_536, 3 * MAX_FRAME_BYTES])
@pytest.mark.parametrize("indent", [None, 1])
def test_usage_in_a_too_large_event_is_read(document, size, indent):
    if "response" in document:
        document = {**document, "response": {**document["response"], "usage": {"input_tokens": 3, "output_tokens": 4}}}
    lines = json.dumps(document, indent=indent).split("\n")
    stream = ("event: x\n" + "".join(f"data: {line}\n" for line in lines) + "\n").encode()
    for last in (b"", b"data: {}\n\n"):
        chunks = [stream[start : start + size] for start in range(0, len(stream), size)]
        assert feed_events(*chunks, last)[:2] == (Usage(3, 4), "m")


def test_usage_in_a_too_large_line_is_read():
    line = json.dumps({"context": list(range(400_000)), "model": "m", "eval_count": 5, "done": True}).encode()
    assert len(line) > MAX_FRAME_BYTES
    for size in (1_000, len(line)):
        reader = reader_for(b"application/x-ndjson", None)
        for start in range(0, len(line), size):
            reader.feed(line[start : start + size])
        assert reader.close(complete=True) == (Usage(None, 5), "m", "ollama", "reported", None)


def test_unreadable_large_event_is_reported_and_the_next_one_read():
    deep = b'data: {"usage":{"x":' + b'{"usage":[' * (MAX_FRAME_BYTES // 4) + b"\n\n"
    assert feed_events(deep) == (None, None, None, "none", "not_json")
    huge = b"data: {" + b'"usage":{"x":1},' * (MAX_FRAME_BYTES // 4) + b"\n\n"
    reading = feed_events(huge)
    assert (reading.usage, reading.status, reading.missing) == (None, "none", "too_large")
    for size in (1000, 65536, 3 * MAX_FRAME_BYTES):
        stream = huge + f"data: {TEXT}\n\n".encode()
        chunks = [stream[start : start + size] for start in range(0, len(stream), size)]
        assert feed_events(*chunks)[3:] == ("reported", None)


@pytest.mark.parametrize("content_type", [b"text/event-stream", b"application/x-ndjson"])
@pytest.mark.parametrize("byte", [b"x", b"\r", b"\xef", b"{", b'"usage"', b"data:"])
def test_memory_for_an_endless_frame_is_bounded(content_type, byte):
    reader = reader_for(content_type, None)
    for _ in range(80):
        reader.feed(byte * (65536 // len(byte)))
        assert len(reader._held) <= MAX_FRAME_BYTES + 1
    assert reader.close(complete=True).usage is None


def test_finished_events_are_not_kept():
    reader = reader_for(b"text/event-stream", None)
    for _ in range(10_000):
        reader.feed(f"data: {TEXT}\n\n".encode())
        assert not reader._held


def test_tiny_chunks_of_a_large_event_take_linear_time(monkeypatch):
    # Count the bytes passed to the boundary search instead of measuring time.
    reader = reader_for(b"text/event-stream", None)
    looked_at = 0

    class Boundary:
        def search(self, held, start):
            nonlocal looked_at
            looked_at += len(held) - start

    monkeypatch.setattr(reader, "_framing", reader._framing._replace(boundary=Boundary()))
    for _ in range(50_000):
        reader.feed(b'"usage"')
    assert looked_at <= 50_000 * (7 + 3)


def test_lines_are_framed_by_line_breaks():
    lines = ['{"model":"llama3.2","done":false}', "", "oops", '{"model":"llama3.2","done":true,"eval_count":5}']
    for line_end in ("\n", "\r\n"):
        raw = line_end.join(lines).encode()
        for size in (1, 5, len(raw)):
            reader = reader_for(b"application/x-ndjson", None)
            for start in range(0, len(raw), size):
                reader.feed(raw[start : start + size])
            assert reader.close(complete=True) == (Usage(None, 5), "llama3.2", "ollama", "reported", None)


def test_multi_byte_characters_may_be_split():
    rng = random.Random(7)
    raw = "".join(f'data: {{"text":"{character * 3}"}}\n\n' for character in "aéß世👋\u2028\x85") + f"data: {TEXT}\n\n"
    stream = raw.encode()
    for _ in range(50):
        places = sorted(rng.sample(range(len(stream)), 20))
        chunks = [stream[a:b] for a, b in zip([0, *places], [*places, len(stream)], strict=True)]
        assert feed_events(*chunks).usage == Usage(3, 4)


def test_model_search_starts_with_the_first_content():
    reader = reader_for(b"text/event-stream", None)
    for kind in ["conversation.response.started", *["tool.execution.started", "tool.execution.done"] * 9]:
        reader.feed(b'data: {"type": "%b"}\n\n' % kind.encode())
    assert not reader.has_content
    reader.feed(b'data: {"type": "message.output.delta", "model": "mistral-medium-2505", "content": "Hi"}\n\n')
    assert (reader.has_content, reader.close(complete=True).model) == (True, "mistral-medium-2505")
