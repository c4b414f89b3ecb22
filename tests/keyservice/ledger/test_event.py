import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keygauge.spool import event as protocol
from keygauge_keyservice.ledger.batch import read_lines
from keygauge_keyservice.ledger.event import Event, Refusal, Window, read_line

WINDOW = Window(0, 1 << 62)


def test_the_fields_are_those_of_the_protocol():
    assert Event._fields == protocol.FIELDS


def test_a_line_is_parsed_into_an_event(make_event, make_line):
    assert read_line(make_line(), window=WINDOW) == make_event()


@pytest.mark.parametrize(
    ("fields", "refusal"),
    [
        ({"input_tokens": -1}, Refusal.NEGATIVE_TOKENS),
        ({"reasoning_tokens": -(10**30)}, Refusal.NEGATIVE_TOKENS),
        ({"output_tokens": 10**30}, Refusal.ABSURD_SIZE),
        ({"duration_us": -5}, Refusal.NEGATIVE_COUNT),
        ({"messages": -1}, Refusal.NEGATIVE_COUNT),
        ({"response_bytes": 1 << 60}, Refusal.ABSURD_SIZE),
        ({"input_tokens": 1.0}, Refusal.WRONG_TYPE),
        ({"input_tokens": True}, Refusal.WRONG_TYPE),
        ({"input_tokens": "7"}, Refusal.WRONG_TYPE),
        ({"account": None}, Refusal.WRONG_TYPE),
        ({"status": None}, Refusal.WRONG_TYPE),
        ({"model": ["x"]}, Refusal.WRONG_TYPE),
        ({"input_tokens": float("nan")}, Refusal.WRONG_TYPE),
        ({"model": "x" * 513}, Refusal.BAD_TEXT),
        ({"model": "a\x00b"}, Refusal.BAD_TEXT),
        ({"ip": "\ud800"}, Refusal.BAD_TEXT),
        ({"route": "/a\nb"}, Refusal.BAD_TEXT),
        ({"route": "/a\x7fb"}, Refusal.BAD_TEXT),
        ({"tag": ""}, Refusal.BAD_TEXT),
        ({"tag": "x" * 129}, Refusal.BAD_TEXT),
        ({"tag": "a\x00b"}, Refusal.BAD_TEXT),
        ({"tag": 7}, Refusal.WRONG_TYPE),
        ({"outcome": "won"}, Refusal.BAD_CHOICE),
        ({"usage_status": "guessed"}, Refusal.BAD_CHOICE),
        ({"stream": "tcp"}, Refusal.BAD_CHOICE),
        ({"status": 0}, Refusal.BAD_STATUS),
        ({"status": 10**9}, Refusal.BAD_STATUS),
        ({"time_us": -1}, Refusal.BAD_TIME),
        ({"time_us": 1 << 62}, Refusal.BAD_TIME),
        ({"details": []}, Refusal.WRONG_TYPE),
        ({"details": {"images": 1.0}}, Refusal.WRONG_TYPE),
        ({"details": {"images": True}}, Refusal.WRONG_TYPE),
        ({"details": {"images": None}}, Refusal.WRONG_TYPE),
        ({"details": {"images": -1}}, Refusal.NEGATIVE_TOKENS),
        ({"details": {"images": 1, "seconds": 10**9 + 1}}, Refusal.ABSURD_SIZE),
        ({"details": {"": 1}}, Refusal.BAD_CHOICE),
        ({"details": {"Images": 1}}, Refusal.BAD_CHOICE),
        ({"details": {"images\n": 1}}, Refusal.BAD_CHOICE),
        ({"details": {"a" * 41: 1}}, Refusal.BAD_CHOICE),
        ({"details": {f"kind{number}": 1 for number in range(33)}}, Refusal.BAD_CHOICE),
    ],
)
def test_an_invalid_value_is_refused_with_its_code(make_line, fields, refusal):
    assert read_line(make_line(**fields), window=WINDOW) == refusal


@pytest.mark.parametrize(
    ("line", "refusal"),
    [
        (b"", Refusal.BAD_JSON),
        (b"[1, 2", Refusal.BAD_JSON),
        (b"\xff\xfe", Refusal.BAD_JSON),
        (b"[" * 10_000, Refusal.BAD_JSON),
        (b"[" + b"9" * 9_000 + b"]", Refusal.BAD_JSON),
        (b"[1] [2]", Refusal.BAD_JSON),
        (b"{}", Refusal.WRONG_TYPE),
        (b"7", Refusal.WRONG_TYPE),
        (b"[]", Refusal.WRONG_LENGTH),
        (b"[" + b"1," * 25 + b"1]", Refusal.WRONG_TYPE),
        (b'"' + b"x" * 20_000 + b'"', Refusal.LINE_TOO_LONG),
    ],
)
def test_an_invalid_line_is_refused_with_its_code(line, refusal):
    assert read_line(line, window=WINDOW) == refusal


def test_texts_in_any_language_are_accepted(make_line):
    assert read_line(make_line(model="模型-1", error="Fehler: größer"), window=WINDOW).model == "模型-1"


@given(
    st.one_of(
        st.binary(max_size=200),
        st.recursive(st.none() | st.integers() | st.text(), st.lists).map(lambda value: json.dumps(value).encode()),
    )
)
def test_no_line_raises(line):
    assert isinstance(read_line(line, window=WINDOW), Event | Refusal)


def test_lines_of_older_and_newer_replicas_are_accepted(make_line):
    line = make_line()
    values = json.loads(line)
    older = [json.dumps(values[:-count]).encode() for count in (1, 2, 3)]
    newer = json.dumps([*values, {"of": "tomorrow"}, "x", None]).encode()
    expected = read_line(line, window=WINDOW)
    assert (expected.details, expected.requested_model, expected.tag) == (None, None, None)
    for line_of_another in (*older, newer):
        assert read_line(line_of_another, window=WINDOW) == expected
    assert read_line(json.dumps(values[:-4]).encode(), window=WINDOW) == Refusal.WRONG_LENGTH
    assert read_lines([*older, line, newer], window=WINDOW) == [expected] * 5
