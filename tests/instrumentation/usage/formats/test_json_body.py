"""JSON bodies: hostile, truncated, and too large to hold."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keygauge.usage import Usage, reader_for
from keygauge.usage.formats.json_body import MAX_BODY_BYTES
from keygauge.usage.truncated_json import MAX_KEPT_BYTES, TruncatedJson

TOLD = {"prompt_tokens": 3, "completion_tokens": 4}
BY_4 = (None, None, 4)  # reasoning


def read(body, *, complete=True, size=None):
    reader = reader_for(b"application/json", None)
    body = body if isinstance(body, bytes) else body.encode()
    for start in range(0, len(body), size or len(body) or 1):
        reader.feed(body[start : start + size] if size else body)
    return reader.close(complete=complete)


def usage_of(**counts):
    return json.dumps({"usage": counts})


@pytest.mark.parametrize(
    ("body", "missing"),
    [
        ("", "no_usage"),
        ("null", "no_usage"),
        ("3", "no_usage"),
        ('"usage"', "no_usage"),
        ("[]", "no_usage"),
        ("{}", "no_usage"),
        ('{"usage": null}', "no_usage"),
        ('{"usage": []}', "no_usage"),
        ('{"usage": {}}', "no_usage"),
        ('{"usage": {}, "type": []}', "no_usage"),
        ('{"usage": {"cpu": 3}}', "no_usage"),
        ('{"usageMetadata": 3}', "no_usage"),
        ('{"meta": {"billed_units": 3}}', "no_usage"),
        ('{"type": "message_start", "message": {"usage": 3}}', "no_usage"),
        ('{"type": "message-end", "delta": {"usage": 3}}', "no_usage"),
        ('{"type": "response.completed", "response": {"usage": 3}}', "no_usage"),
        ('{"event_type": "stream-end", "response": {"meta": {"usage": 3}}}', "no_usage"),
        ('{"metadata": {"usage": 3}}', "no_usage"),
        ('[{"usage": {"prompt_tokens": 3}}]', "no_usage"),
        ('[3, {"usageMetadata": 3}]', "no_usage"),
        (json.dumps({"text": usage_of(**TOLD)}), "no_usage"),
        (json.dumps({"quoted": {"usage": TOLD}}), "no_usage"),
        ('{"usage"', "not_json"),
        ('{"usage": {"prompt_tokens": 3}} trailing', "not_json"),
        ('{"usage": {"prompt_tokens": ' + "9" * 5000 + "}}", "bad_counts"),
        ('{"usage": ' + "[" * 200_000, "not_json"),
        ('{"usage": ' + "[" * 200_000 + "]" * 200_000 + "}", "no_usage"),
        (b'{"usage\xff": 3}', "no_usage"),
        (usage_of(prompt_tokens=[3], completion_tokens={}), "bad_counts"),
        (usage_of(prompt_tokens=10**9 + 1), "bad_counts"),
        ('{"usage": {"prompt_tokens": NaN}}', "bad_counts"),
        ('{"usage": {"prompt_tokens": 1e400}}', "bad_counts"),
        ('{"eval_count": -1}', "bad_counts"),
        ('{"tokens_evaluated": 0.5}', "bad_counts"),
        ('{"meta": {"billed_units": {"input_tokens": 2.5}}}', "bad_counts"),
    ],
)
def test_hostile_or_empty_body_counts_nothing(body, missing):
    reading = read(body)
    assert (reading.usage, reading.status, reading.missing) == (None, "none", missing)


@pytest.mark.parametrize(
    ("body", "usage"),
    [
        (usage_of(prompt_tokens=0, completion_tokens=0), Usage(0, 0)),
        (usage_of(prompt_tokens=10**9), Usage(10**9)),
        (usage_of(prompt_tokens=3, completion_tokens=None), Usage(3)),
        (usage_of(completion_tokens=4), Usage(None, 4)),
        (usage_of(prompt_tokens=3, prompt_tokens_details=None, completion_tokens_details=7), Usage(3)),
        (usage_of(input_tokens=3, output_tokens=4), Usage(3, 4)),
        (b'{"text": "\xff\xfe", "usage": {"prompt_tokens": 3}}', Usage(3)),
        (b'\xef\xbb\xbf {"usage": {"prompt_tokens": 3}}\r\n', Usage(3)),
        ('{"usage": {"prompt_tokens": 9}, "usage": {"prompt_tokens": 3}}', Usage(3)),
        ('{"text": "\\"usage\\":null", "usage": {"prompt_tokens": 3}}', Usage(3)),
        ('{"usage":null, "meta": {"billed_units": {"input_tokens": 3}}}', Usage(3)),
        ('{"message": {"role": "assistant"}, "eval_count": 4}', Usage(None, 4)),
    ],
)
def test_reported_counts_are_read_and_others_stay_unknown(body, usage):
    assert read(body)[0] == usage
    assert read(body, size=1)[0] == usage


@pytest.mark.parametrize(
    ("body", "usage"),
    [
        (usage_of(prompt_tokens=-1, completion_tokens=4), Usage(None, 4)),
        (usage_of(prompt_tokens=3, completion_tokens=-4), Usage(3)),
        (usage_of(prompt_tokens=3, completion_tokens=4.5), Usage(3)),
        (usage_of(prompt_tokens=3, completion_tokens="4 tokens"), Usage(3)),
        (usage_of(prompt_tokens=True, completion_tokens=4), Usage(None, 4)),
        (usage_of(prompt_tokens=3, prompt_tokens_details={"cached_tokens": -1}), Usage(3)),
        (usage_of(prompt_tokens=3, prompt_tokens_details={"cached_tokens": 4}), Usage(3, None, 3)),
        (usage_of(prompt_tokens=3, prompt_tokens_details={"cache_write_tokens": 4}), Usage(3, None, None, 3)),
        (usage_of(prompt_tokens=3, prompt_tokens_details={"audio_tokens": 4}), Usage(3, details={"input_audio": 3})),
        (usage_of(input_tokens=10**9, cache_read_input_tokens=1), Usage(10**9, None, 1)),
        ('{"usageMetadata": {"promptTokenCount": -3, "toolUsePromptTokenCount": 9}}', Usage(9)),
        ('{"usageMetadata": {"promptTokenCount": 3, "toolUsePromptTokenCount": -9}}', Usage(3)),
    ],
)
def test_plausible_counts_are_kept_and_the_call_is_marked(body, usage):
    reading = read(body)
    assert (reading.usage, reading.status, reading.missing) == (usage, "partial", "bad_counts")


@pytest.mark.parametrize(
    ("body", "usage"),
    [
        (usage_of(prompt_tokens=12.0, completion_tokens="7"), Usage(12, 7)),
        ('{"usageMetadata": {"candidatesTokenCount": "1", "thoughtsTokenCount": 2}}', Usage(None, 3, None, None, 2)),
        (usage_of(prompt_tokens=20, completion_tokens=198, total_tokens=623), Usage(20, 603)),
        (usage_of(total_tokens=12), Usage(12)),
        (usage_of(prompt_tokens=8, total_tokens=8), Usage(8)),
        (usage_of(prompt_tokens=8, completion_tokens=2, total_tokens=3), Usage(8, 2)),
        (
            usage_of(completion_tokens=3, completion_tokens_details={"reasoning_tokens": 4}),
            Usage(None, 7, None, None, 4),
        ),
    ],
)
def test_counts_are_read_in_the_notations_of_gateways(body, usage):
    reading = read(body)
    assert (reading.usage, reading.status, reading.missing) == (usage, "reported", None)


@pytest.mark.parametrize("size", [None, 7])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
def test_every_encoding_of_json_is_read(encoding, size):
    body = json.dumps({"model": "gpt-4o", "choices": [{"text": "é"}], "usage": TOLD}, ensure_ascii=False)
    reading = read(body.encode(encoding), size=size)
    assert (reading.usage, reading.model, reading.status) == (Usage(3, 4), "gpt-4o", "reported")


def test_truncated_body_counts_only_if_its_document_is_complete():
    body = usage_of(**TOLD)
    assert read(body[:-1], complete=False)[3:] == ("none", "cut")
    assert read(body, complete=False)[:1] + read(body, complete=False)[3:] == (Usage(3, 4), "reported", None)


EMBEDDINGS = {
    "object": "list",
    "data": [{"object": "embedding", "index": i, "embedding": [0.0023064255] * 300} for i in range(400)],
    "model": "text-embedding-ada-002",
    "usage": {"prompt_tokens": 8, "total_tokens": 8},
}


@pytest.mark.parametrize("size", [None, 1000, 65536])
@pytest.mark.parametrize("indent", [None, 2])
def test_large_batch_of_embeddings_is_read(size, indent):
    body = json.dumps(EMBEDDINGS, indent=indent)
    assert len(body) > MAX_BODY_BYTES
    assert read(body, size=size) == (Usage(8), "text-embedding-ada-002", "openai", "reported", None)


def test_large_chat_answer_is_read():
    choices = [{"index": 0, "message": {"content": 'a "usage": {"prompt_tokens": 9} \\' * 50_000}}]
    body = json.dumps({"id": "x", "model": "gpt-4o", "choices": choices, "usage": TOLD, "service_tier": "default"})
    assert read(body) == (Usage(3, 4), "gpt-4o", "openai", "reported", None)


IMAGE = "iVBORw0KGgo" * (MAX_BODY_BYTES // 8)
CONTEXT = list(range(MAX_BODY_BYTES // 4))


@pytest.mark.parametrize(
    "document",
    [
        {"data": [{"b64_json": IMAGE}], "usage": TOLD},
        {"usage": TOLD, "data": [{"b64_json": IMAGE}]},
        {"data": [{"b64_json": IMAGE}], "usage": TOLD, "more": IMAGE},
        {"context": CONTEXT, "usage": TOLD, "more": CONTEXT},
        {"data": [{"embedding": [0.5] * 999}] * 999, "usage": TOLD},
        {"output": [{"content": [{"text": IMAGE}]}] * 3, "usage": TOLD},
        {"data": ["text"] * (MAX_BODY_BYTES // 4), "usage": TOLD},
        {"data": IMAGE + "\\", "usage": TOLD},
    ],
    ids=["before", "after", "around", "context", "embeddings", "nested", "texts", "backslash"],
)
@pytest.mark.parametrize("size", [None, 999, 65536])
def test_usage_before_after_or_around_large_parts_is_read(document, size):
    assert read(json.dumps(document), size=size)[0] == Usage(3, 4)


@pytest.mark.parametrize(
    "tail",
    [
        '"}',  # one string to the end
        '"}, {"usage": {"prompt_tokens": 3}}]}',  # not a member of the root
        '"], "inner": {"usage": {"prompt_tokens": 3}}}',
        '\\", \\"usage\\": {\\"prompt_tokens\\": 3}}"}',  # quoted
        '"], "usage": {"prompt_tokens": 3}',  # the root is not closed
        '"]} , "usage": {"prompt_tokens": 3}}}',  # closed too often: not JSON
    ],
)
@pytest.mark.parametrize("size", [None, 999])
def test_large_body_whose_usage_is_not_its_own_counts_nothing(tail, size):
    body = '{"data": ["' + "x" * MAX_BODY_BYTES + tail
    assert read(body, size=size)[0] is None


def test_last_answer_of_a_large_array_is_read():
    answers = [
        {"text": "x" * 9_000, "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": n}} for n in range(200)
    ]
    assert read(json.dumps(answers))[0] == Usage(3, 199)


def test_truncated_large_body_is_reported():
    assert read(json.dumps(EMBEDDINGS)[:-1], complete=False)[3:] == ("none", "too_large")


def test_memory_stays_within_the_limit():
    reader = reader_for(b"application/json", None)
    for _ in range(100):
        reader.feed(b'{"usage":[' * 6553)
        assert len(reader._held) + len(reader._large.kept if reader._large else b"") <= MAX_BODY_BYTES
    assert reader.close(complete=True)[3:] == ("none", "too_large")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='ab"\\{}[],:\n é', max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(alphabet='a"\\{},', max_size=4), inner),
    max_leaves=12,
)


@given(JSON, st.integers(1, 9), st.booleans())
def test_document_without_large_members_is_unchanged(document, size, is_spaced):
    body = json.dumps(document, ensure_ascii=False, indent=1 if is_spaced else None).encode()
    truncated = TruncatedJson()
    for start in range(0, len(body), size):
        truncated.feed(body[start : start + size])
    assert json.loads(truncated.kept) == document


@given(st.lists(JSON, min_size=20, max_size=40), st.integers(1, 50))
def test_array_keeps_its_first_elements_and_stays_an_array(elements, size):
    body = json.dumps({"data": elements, "usage": TOLD}).encode()
    truncated = TruncatedJson()
    for start in range(0, len(body), size):
        truncated.feed(body[start : start + size])
    kept = json.loads(truncated.kept)
    assert kept["usage"] == TOLD
    assert kept["data"][:16] == elements[:16]
    assert len(kept["data"]) <= 17


def test_kept_part_is_bounded():
    truncated = TruncatedJson()
    for number in range(100_000):
        truncated.feed(b'{"member%d":[1,2,3],' % number)
        assert len(truncated.kept) <= MAX_KEPT_BYTES
    assert len(truncated.kept) < 2000  # the rest is nested too deeply
    truncated = TruncatedJson()
    for _ in range(100_000):
        truncated.feed(b'"usage":[1,2,3],' if truncated.kept else b"{")
        assert len(truncated.kept) <= MAX_KEPT_BYTES
    assert truncated.is_lost


CHUNK = {"id": "c", "model": "gpt-4o", "choices": [{"delta": {"content": "x" * 100}}], "usage": None}
LAST = {"id": "c", "model": "gpt-4o", "choices": [], "usage": TOLD}
LINE = {"model": "llama3.2", "done": False, "message": {"content": "x" * 100}}
LAST_LINE = {"model": "llama3.2", "done": True, "prompt_eval_count": 3, "eval_count": 4}


@pytest.mark.parametrize("many", [1, 12_000])
@pytest.mark.parametrize("size", [None, 40_000])
def test_stream_sent_as_json_is_read_as_a_stream(many, size):
    events = b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in [*[CHUNK] * many, LAST])
    assert read(b"\xef\xbb\xbf: hi\n\n" + events, size=size)[:4] == (Usage(3, 4), "gpt-4o", "openai", "reported")
    lines = b"".join(json.dumps(one).encode() + b"\n" for one in [*[LINE] * many, LAST_LINE])
    assert read(lines, size=size)[:4] == (Usage(3, 4), "llama3.2", "ollama", "reported")


def test_stream_sent_as_json_reports_its_answer_and_error():
    reader = reader_for(b"application/json", None)
    reader.feed(b"data: " + json.dumps(CHUNK).encode() + b"\n\n" + b'data: {"error": {"message": "overloaded"}}\n\n')
    assert reader.close(complete=True)[1:] == ("gpt-4o", None, "none", "no_usage")
    assert (reader.answer, reader.failed, reader.events) == ("c", True, 2)


@pytest.mark.parametrize("digits", [11, 400, 5_000])
def test_other_counts_are_kept_next_to_one_with_too_many_digits(digits):
    told = f'{{"usage": {{"prompt_tokens": {"9" * digits}, "completion_tokens": 4}}}}'
    assert read(told)[0::3] == (Usage(None, 4), "partial")
    assert read(told.replace("9", "-9", 1))[0::3] == (Usage(None, 4), "partial")


@pytest.mark.parametrize("count", [1, 20])
@pytest.mark.parametrize("size", [None, 65_536])
def test_large_images_of_amazon_models_are_counted(count, size):
    body = json.dumps({"images": ["iVBORw0KGgo" + "A" * MAX_BODY_BYTES] * count, "error": None})
    reading = read(body, size=size)
    assert (reading.usage, reading.provider) == (Usage(details={"images": count}), "aws.bedrock")


def test_image_names_are_not_generated_images():
    assert read('{"images": ["a.png", "b.png"]}')[3:] == ("none", "no_usage")
