import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keygauge_keyservice.ledger import batch
from keygauge_keyservice.ledger.batch import read_lines
from keygauge_keyservice.ledger.event import Event, Refusal, Window, read_line

WINDOW = Window(1_000, 2_000_000_000_000_000)
GOOD = [
    *(1_790_000_000_000_000, "acme", "key", "/v1/chat", "POST", 200, None, "192.0.2.1", 120_000, None, 500, 1500, None),
    *(0, "gpt-4o", "openai", 100, 200, 10, 0, None, "reported", "admitted", None, "0af7651916cd43dd"),
    {"images": 2},
    "gpt-4o-alias",
    "alice",
]
UNUSUAL_VALUES = [
    *(None, True, 1.5, -1, 0, 1 << 30, 1 << 42, (1 << 42) + 1, 1 << 63, 10**30, float("nan"), float("inf"), 99, 1000),
    *("", "limited", "sse", "none", "a,b", 'say "x"', "back\\slash", "tab\t", "nul\0", "\x7f", "[", "]", "],[", "模型"),
    *("\ud800", "x" * 600, [], ["x"], {}, {"a": 1}, {"a": -1}, {"A": 1}, {"a": 1.0}, {"a\n": 1}, {"": 1}),
    dict.fromkeys(map("a{}".format, range(33)), 1),
]


def alone(lines):
    return [read_line(line, window=WINDOW) for line in lines]


@st.composite
def any_line(draw):
    """Draw a valid line, one with some odd values, a truncated one, or something else."""
    values = list(GOOD)
    for _ in range(draw(st.integers(0, 2))):
        values[draw(st.integers(0, len(values) - 1))] = draw(st.sampled_from(UNUSUAL_VALUES))
    line = json.dumps(values, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    cut = draw(st.sampled_from([None, None, None, 5, -1, -3]))
    return draw(st.sampled_from([line[:cut], line[:cut], line[:cut], b"", b"]", b"[1],[2]", b" " + line, line + b" "]))


@given(st.lists(any_line(), max_size=6))
def test_many_lines_give_the_same_results_as_each_alone(lines):
    assert read_lines(lines, window=WINDOW) == alone(lines)


@pytest.mark.parametrize("odd", UNUSUAL_VALUES, ids=repr)
@pytest.mark.parametrize("field", Event._fields)
def test_one_odd_value_among_good_lines_gives_the_same_results(field, odd):
    values = Event._make(GOOD)._replace(**{field: odd})
    good = json.dumps(GOOD).encode()
    lines = [good, json.dumps(values, ensure_ascii=False).encode("utf-8", "surrogatepass"), good]
    found = read_lines(lines, window=WINDOW)
    assert found == alone(lines)
    assert isinstance(found[0], Event)
    assert isinstance(found[2], Event)


def test_lines_that_are_valid_only_when_joined_are_refused():
    head, tail = json.dumps(GOOD).encode()[:40], json.dumps(GOOD).encode()[40:]
    for lines in ([head, tail], [json.dumps(GOOD).encode() + b"," + head, tail]):
        assert read_lines(lines, window=WINDOW) == [Refusal.BAD_JSON, Refusal.BAD_JSON]


def test_an_ordinary_batch_takes_the_fast_path_in_less_than_three_times_json_parsing(monkeypatch):
    monkeypatch.setattr(batch, "read_line", None)  # must not be called
    lines = [json.dumps([*GOOD[:16], number, *GOOD[17:]], separators=(",", ":")).encode() for number in range(5_000)]

    def measure(read):
        started = time.process_time()
        found = read()
        return time.process_time() - started, found

    plain_s, taken_s = [], []
    for _ in range(5):
        plain_s.append(measure(lambda: [json.loads(line) for line in lines])[0])
        seconds, events = measure(lambda: read_lines(lines, window=WINDOW))
        taken_s.append(seconds)
        assert [event.input_tokens for event in events] == list(range(5_000))
    assert min(taken_s) < 3 * min(plain_s), (taken_s, plain_s)


def test_no_lines_give_no_events():
    assert read_lines([], window=WINDOW) == []
