import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keygauge.usage import Usage
from keygauge.usage.formats.ndjson import read_lines

LAST = {"model": "llama3", "done": True, "prompt_eval_count": 9, "eval_count": 2}
STREAM = b"".join(
    json.dumps(line).encode() + b"\n"
    for line in ({"model": "llama3", "response": "a", "done": False}, {"response": "b", "done": False}, LAST)
)


@given(st.sets(st.integers(0, len(STREAM)), max_size=5), st.booleans(), st.booleans())
def test_lines_read_the_same_in_any_chunks(cuts, is_windows, is_ended):
    stream = STREAM if is_ended else STREAM.rstrip(b"\n")
    stream = stream.replace(b"\n", b"\r\n") if is_windows else stream
    reader, at = read_lines(), 0
    for cut in (*sorted(min(cut, len(stream)) for cut in cuts), len(stream)):
        reader.feed(stream[at:cut])
        at = cut
    assert reader.close(complete=True) == (Usage(9, 2), "llama3", "ollama", "reported", None)
    assert reader.events == 3


@pytest.mark.parametrize(
    "line",
    [
        {"meta": {"billed_units": {"input_tokens": 9, "output_tokens": 2}}},
        {"usage": {"prompt_tokens": 9, "completion_tokens": 2}},
        {"tokens_evaluated": 9, "tokens_predicted": 2},
    ],
)
def test_every_kind_of_line_with_usage_is_parsed(line):
    reader = read_lines()
    reader.feed(b'{"text":"a"}\n' + json.dumps(line).encode() + b"\n")
    assert reader.close(complete=True).usage == Usage(9, 2)


def test_empty_lines_are_not_events_and_errors_are_recognized_by_document():
    reader = read_lines()
    reader.feed(b'\n \n{"response":"a"}\n\n{"error":"out of memory"}\n')
    reader.close(complete=True)
    assert reader.failed
    assert reader.has_content


def test_bedrock_metrics_are_read_after_any_number_of_lines():
    metrics = {"inputTokenCount": 8, "outputTokenCount": 5, "invocationLatency": 900}
    reader = read_lines()
    for _ in range(50):
        reader.feed(b'{"outputs": [{"text": "Hi"}]}\n')
    reader.feed(json.dumps({"amazon-bedrock-invocationMetrics": metrics}).encode() + b"\n")
    assert reader.close(complete=True)[:3] == (Usage(8, 5), None, "aws.bedrock")
