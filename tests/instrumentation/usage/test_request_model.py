import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keygauge.usage.request_model import HEAD_BYTES, find, find_in_message


def form(name, disposition='form-data; name="model"'):
    return f"--b\r\nContent-Disposition: {disposition}\r\n\r\n{name}\r\n--b--\r\n".encode()


@given(st.text(min_size=1, max_size=256), st.booleans())
def test_model_is_found_in_any_json_formatting(name, is_ascii):
    try:
        body = json.dumps({"prompt": "a cat", "model": name}, ensure_ascii=is_ascii).encode()
    except UnicodeEncodeError:
        return
    expected = name if not any("\ud800" <= one <= "\udfff" for one in name) else find(body, body)
    assert find(body, body) == expected


@given(
    st.lists(st.sampled_from(["model", "Model", "m\\u006fdel", "messages"]), max_size=4),
    st.lists(st.sampled_from(['"a"', '"b\\n"', '{"model": "c"}', "null", '""', "3"]), min_size=4, max_size=4),
    st.text("x{", max_size=9),
)
def test_whole_body_is_read_like_an_app_does(names, values, text):
    members = [f'"{name}": {value}' for name, value in zip(names, values, strict=False)]
    body = f'{{"text": "{text}"{"".join(f", {one}" for one in members)}}}'.encode()
    named = json.loads(body).get("model")
    assert find(body, body[-9:]) == (named if isinstance(named, str) and named else None)


def test_escaped_names_are_read():
    assert find(b'{"m\\u006fdel": "dall-e-3"}', b"") == "dall-e-3"


def test_incomplete_body_is_searched_at_both_ends():
    head, tail = b'{"messages": [' + b"x" * HEAD_BYTES, b'], "model": "gpt-4o"}'
    assert find(head, tail) == "gpt-4o"
    assert find(b'{"model":"gpt-4o","messages":[' + b"x" * HEAD_BYTES, b"]}") == "gpt-4o"
    assert find(head, b"x" * HEAD_BYTES + b"]}") is None


@pytest.mark.parametrize("disposition", ['form-data; name="model"', "form-data; name=model"])
def test_model_is_found_in_a_form_field(disposition):
    assert find(form("whisper-1", disposition), b"") == "whisper-1"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"model",
        b'["model"]',
        b'{"model": 3}',
        b'{"model": ""}',
        b'{"model": "%b"}' % (b"m" * 257),
        form(""),
        b"{model",
    ],
)
def test_body_without_a_model_gives_none(body):
    assert find(body, body) is None


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_no_input_raises(head, tail):
    for beginning in (b"", b"{", b'{"model"', b"--"):
        name = find(beginning + head, tail + b"model")
        assert name is None or 0 < len(name) <= 256


@pytest.mark.parametrize(
    ("message", "model"),
    [
        (b'{"type":"session.update","session":{"type":"realtime","model":"gpt-realtime"}}', "gpt-realtime"),
        (b'{"type":"response.create","model":"gpt-5","input":[]}', "gpt-5"),
        (b'{"setup":{"model":"models/gemini-2.0-flash-live-001"}}', "gemini-2.0-flash-live-001"),
        (b'{"type":"response.create","response":{"metadata":{"model":"x"}}}', None),
        (b'{"setup":{"model":3},"session":null}', None),
        (b'{"setup":3}', None),
        (b'"model"', None),
        pytest.param(b"[" * 100_000, None, id="deep"),
    ],
)
def test_model_is_found_in_session_messages(message, model):
    assert find_in_message(message) == model
