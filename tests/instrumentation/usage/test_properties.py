"""For any body, chunking and encoding: no exception, the same reading as unchunked, bounded memory."""

import json

from bodies import CONTENT_TYPES, ENCODINGS, bodies, divide
from hypothesis import given, settings
from hypothesis import strategies as st

from keygauge.kinds import PART_OF
from keygauge.usage import Usage, reader_for
from keygauge.usage.counts import MAX_TOKENS
from keygauge.usage.formats.json_body import MAX_BODY_BYTES
from keygauge.usage.formats.stream import MAX_FRAME_BYTES


def read(content_type, encoding, chunks, *, complete):
    reader = reader_for(content_type, encoding)
    for chunk in chunks:
        reader.feed(chunk)
        assert len(getattr(reader, "_held", b"")) <= max(MAX_BODY_BYTES, MAX_FRAME_BYTES + 1)
    return reader.close(complete=complete)


@given(bodies(), CONTENT_TYPES, st.lists(st.integers(0, 10**6), max_size=12), st.booleans())
@settings(deadline=None, max_examples=500)
def test_reading_does_not_depend_on_the_chunks(body, content_type, places, complete):
    whole = read(content_type, None, [body], complete=complete)
    assert read(content_type, None, divide(body, places), complete=complete) == whole
    assert read(content_type, None, divide(body, range(len(body))), complete=complete) == whole


@given(bodies(), CONTENT_TYPES, st.sampled_from(list(ENCODINGS)), st.lists(st.integers(0, 10**6), max_size=6))
@settings(deadline=None, max_examples=200)
def test_reading_does_not_depend_on_the_encoding(body, content_type, encoding, places):
    plain = read(content_type, None, [body], complete=True)
    encoded = divide(ENCODINGS[encoding](body), places)
    assert read(content_type, encoding, encoded, complete=True) == plain


@given(st.lists(st.binary(max_size=60), max_size=5), CONTENT_TYPES, st.sampled_from(list(ENCODINGS)))
@settings(deadline=None, max_examples=200)
def test_garbage_declared_as_encoded_never_raises(chunks, content_type, encoding):
    read(content_type, encoding, chunks, complete=True)


@given(bodies(), CONTENT_TYPES, st.sampled_from(list(ENCODINGS)), st.sampled_from([bytearray, memoryview]))
@settings(deadline=None)
def test_other_buffers_are_read_the_same_and_never_changed(body, content_type, encoding, buffer):
    encoded = ENCODINGS[encoding](body)
    chunks = [buffer(bytearray(encoded[:9])), buffer(bytearray(encoded[9:]))]
    expected = read(content_type, encoding, [encoded], complete=True)
    assert read(content_type, encoding, chunks, complete=True) == expected
    assert b"".join(chunks) == encoded


@given(bodies(), CONTENT_TYPES, st.booleans())
@settings(deadline=None, max_examples=500)
def test_every_reading_has_the_normal_form(body, content_type, complete):
    usage, model, _, status, missing = read(content_type, None, [body], complete=complete)
    assert (usage is None) == (status == "none")
    assert (missing is None) == (status == "reported")
    assert model is None or 0 < len(model) <= 256
    if usage is None:
        return
    assert usage != Usage()
    *counts, details = usage
    assert all(count is None or (type(count) is int and 0 <= count <= MAX_TOKENS) for count in counts)
    assert details is None or all(kind in PART_OF and 0 < count <= MAX_TOKENS for kind, count in details.items())
    if usage.input_tokens is not None:
        assert max(usage.cache_read_tokens or 0, usage.cache_write_tokens or 0) <= usage.input_tokens
    if usage.output_tokens is not None:
        assert (usage.reasoning_tokens or 0) <= usage.output_tokens


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=6),
    st.sampled_from(["\n", "\r", "\r\n"]),
    st.sampled_from([None, 1]),
    st.sampled_from(["data:", "data: "]),
    st.lists(st.sampled_from([": usage", "event: usage", 'data: {"text":"\\"usage\\": 世"}']), max_size=3),
    st.lists(st.integers(0, 10**6), max_size=12),
)
@settings(deadline=None)
def test_largest_counts_of_a_stream_are_read(counts, line_end, indent, prefix, noise, places):
    stream = ""
    for prompt, output in counts:
        document = {"usage": {"prompt_tokens": prompt, "completion_tokens": output}}
        lines = json.dumps(document, indent=indent).split("\n")
        stream += "".join(line + line_end * 2 for line in noise)
        stream += "".join(prefix + line + line_end for line in lines) + line_end
    reading = read(b"text/event-stream", None, divide(stream.encode(), places), complete=True)
    largest = [max(told) for told in zip(*counts, strict=True)]
    assert (reading.usage, reading.status) == (Usage(*largest), "reported")
