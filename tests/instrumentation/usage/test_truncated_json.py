import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keygauge.usage import Usage, reader_for
from keygauge.usage.truncated_json import (
    _MAX_ELEMENTS,
    _MAX_MEMBERS,
    _MAX_TEXT_BYTES,
    MAX_KEPT_BYTES,
    TruncatedJson,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


def reduce(data, cuts=()):
    reduced, at = TruncatedJson(), 0
    for cut in (*sorted(cuts), len(data)):
        reduced.feed(data[at:cut])
        at = cut
    return reduced


@given(JSON, st.data(), st.booleans())
def test_small_document_is_unchanged_in_any_chunks(value, data, is_ascii):
    text = json.dumps(value, ensure_ascii=is_ascii).encode("utf-8", "replace")
    cuts = data.draw(st.sets(st.integers(0, len(text)), max_size=6))
    assert bytes(reduce(text, cuts).kept) == text


def test_long_strings_become_empty_and_the_rest_is_kept():
    for image in ("x" * (_MAX_TEXT_BYTES + 1), '\\"' * _MAX_TEXT_BYTES, "é" * 1_000_000):
        text = json.dumps({"image": image, "usage": {"input_tokens": 3}}).encode()
        for cuts in ((), range(1, len(text), max(1, len(text) // 50))):
            assert json.loads(reduce(text, cuts).kept) == {"image": "", "usage": {"input_tokens": 3}}
    just = {"text": "x" * _MAX_TEXT_BYTES}
    assert json.loads(reduce(json.dumps(just).encode()).kept) == just


def test_arrays_keep_their_first_elements_and_the_last():
    documents = [{"id": number} for number in range(10_000)]
    kept = json.loads(reduce(json.dumps({"data": documents, "usage": 1}).encode()).kept)
    assert kept["usage"] == 1
    assert len(kept["data"]) <= _MAX_ELEMENTS + 1
    assert (kept["data"][0], kept["data"][-1]) == (documents[0], documents[-1])
    vector = json.loads(reduce(json.dumps({"v": [0.5] * 100_000, "usage": 2}).encode()).kept)
    assert vector == {"v": [0.5] * _MAX_ELEMENTS, "usage": 2}


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_memory_is_bounded_for_any_input(chunks):
    reduced = TruncatedJson()
    for chunk in chunks * 3:
        reduced.feed(chunk)
        assert len(reduced.kept) <= MAX_KEPT_BYTES


def deep(count):
    return b'{"a":' * count + b"1" + b"}" * count


BLOBS = [  # tool arguments that a model may write
    json.dumps({f"key {number}": number for number in range(80_000)}).encode(),
    json.dumps({f"key {number}": "some text " * 3 for number in range(40_000)}).encode(),
    json.dumps([{"x": [{"y": "z" * 400}] * 16}] * 300).encode(),
    json.dumps([{f"key {number}": "z" * 400 for number in range(60)}] * 60).encode(),
    deep(100_000),
    deep(2_000),
    b"[" * 300_000 + b"]" * 300_000,
]
USAGE = b'"usage":{"input_tokens":15,"output_tokens":20,"total_tokens":35}'
META = b'"usageMetadata":{"promptTokenCount":15,"candidatesTokenCount":20},"modelVersion":"gemini-2.5-flash"'
ANSWERS = [
    b'{"id":"m","type":"message","model":"claude","content":[{"type":"tool_use","input":%s}],' + USAGE + b"}",
    b'{"id":"m","type":"message","model":"claude",' + USAGE + b',"content":[{"type":"tool_use","input":%s}]}',
    b'{"candidates":[{"content":{"parts":[{"functionCall":{"args":%s}}]},"finishReason":"STOP"}],' + META + b"}",
    b'[{"candidates":[{"content":{"parts":[{"functionCall":{"args":%s}}]},"finishReason":"STOP"}],' + META + b"}]",
    b'{"output":{"message":{"content":[{"toolUse":{"input":%s}}]}},"usage":{"inputTokens":15,"outputTokens":20}}',
    b'{"model":"m","message":{"tool_calls":[{"function":{"arguments":%s}}]},"prompt_eval_count":15,"eval_count":20}',
    b'{"type":"response.completed","response":{"id":"r","tools":[%s],' + USAGE + b"}}",
    b'{"type":"response.completed","response":{"id":"r",' + USAGE + b',"tools":[%s]}}',
]


@pytest.mark.parametrize("blob", BLOBS, ids=range(len(BLOBS)))
@pytest.mark.parametrize("answer", ANSWERS, ids=range(len(ANSWERS)))
def test_usage_is_found_with_any_tool_arguments(answer, blob):
    document = answer % blob
    for content_type, body in (
        (b"application/json", document),
        (b"text/event-stream", b"event: x\ndata: " + document + b"\n\n"),
        (b"application/x-ndjson", document + b"\n"),
    ):
        reader = reader_for(content_type, None)
        for start in range(0, len(body), 65_537):
            reader.feed(body[start : start + 65_537])
        usage, _, _, status, _ = reader.close(complete=True)
        assert (usage, status) == (Usage(15, 20), "reported")


@given(JSON, st.data())
def test_same_parts_are_left_out_in_any_chunks(value, data):
    text = json.dumps(
        {"a": [value] * 40, "usage": value, "z": {f"k{number}": value for number in range(80)}, "model": 1}
    )
    cuts = data.draw(st.sets(st.integers(0, len(text)), max_size=6))
    kept = reduce(text.encode(), cuts).kept
    assert kept == reduce(text.encode()).kept
    reduced = json.loads(kept)
    assert (reduced["usage"], reduced["model"], reduced["a"]) == (value, 1, [value] * _MAX_ELEMENTS)
    assert list(reduced["z"]) == [f"k{number}" for number in range(_MAX_MEMBERS)]


def test_all_elements_are_counted_though_few_are_kept():
    for count in (1, 17, 30_000):
        reduced = reduce(json.dumps([{"candidates": [{"content": "x" * 20}]}] * count).encode())
        assert (reduced.elements, len(json.loads(reduced.kept)) <= count) == (count, True)


def test_document_too_large_even_when_reduced_is_dropped():
    repeated, numbers = TruncatedJson(), TruncatedJson()
    for _ in range(MAX_KEPT_BYTES // 8):
        repeated.feed(b'"usage":1,' if repeated.kept else b"{")
    numbers.feed(b"1" * (MAX_KEPT_BYTES + 1))
    assert (repeated.is_lost, numbers.is_lost, bytes(repeated.kept)) == (True, True, b"")
    numbers.feed(b'{"usage": 1}')
    assert not numbers.kept
