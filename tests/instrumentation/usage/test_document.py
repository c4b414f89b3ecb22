import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keygauge.usage import document, providers

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["usage", "id", "choices", "output", "data", "response", "x"]), inner)
    ),
    max_leaves=12,
)
USAGES = [
    {"usage": {"prompt_tokens": 1, "completion_tokens": 2}},
    {"usageMetadata": {"promptTokenCount": 1}},
    {"prompt_eval_count": 1, "eval_count": 2},
    {"tokens_evaluated": 1, "tokens_predicted": 2},
    {"details": {"generated_tokens": 2}},
    {"meta_info": {"prompt_tokens": 1, "completion_tokens": 2}},
    {"inputTextTokenCount": 1, "results": [{"tokenCount": 2}]},
    {"meta": {"billed_units": {"input_tokens": 1}}},
]


@given(JSON)
def test_used_members_are_the_same_as_in_fully_parsed_json(value):
    parsed = document.parse(json.dumps(value).encode())
    if not isinstance(value, dict):
        assert parsed == value
        return
    assert providers.find(parsed) == providers.find(value)
    assert providers.find_id(parsed) == providers.find_id(value)


@given(st.binary(max_size=60))
def test_any_bytes_parse_as_json_or_none(data):
    try:
        expected = json.loads(data.decode("utf-8", "replace"))
    except ValueError:
        expected = None
    if expected is None or isinstance(expected, float):
        return
    assert document.parse(data) == expected or isinstance(expected, dict)


@pytest.mark.parametrize("data", [b"", b"{", b"{} {}", b"[1", b"data: {}", b"[" * 100_000, b'{"a":' * 100_000])
def test_invalid_json_is_none(data):
    assert document.parse(data) is None


def test_invalid_utf8_damages_only_its_text():
    data = b'{"text": "\xff\xfe", "usage": {"prompt_tokens": 3}}'
    assert document.parse(data)["usage"] == {"prompt_tokens": 3}


def test_member_of_an_unexpected_type_affects_no_other():
    assert document.parse(b'{"choices": 3, "usage": {"prompt_tokens": 3}}') == {
        "choices": 3,
        "usage": {"prompt_tokens": 3},
    }


@pytest.mark.parametrize("told", USAGES)
def test_no_search_misses_a_document_with_usage(told):
    data = json.dumps(told).encode()
    assert any(
        search(data)
        for search in (
            document.may_have_usage,
            document.may_be_ollama,
            document.may_be_local,
            document.may_be_cohere_v1,
        )
    )


def test_null_usage_and_errors_are_ignored_if_they_are_the_only_ones():
    for name, search in (("usage", document.may_have_usage), ("error", document.may_be_error)):
        for null in (f'{{"{name}":null}}', f'{{"{name}": null}}', "{}"):
            assert not search(null.encode())
        assert search(f'{{"{name}":{{"x":1}},"y":{{"{name}":null}}}}'.encode())


def test_document_is_recognized_by_its_beginning():
    for beginning in (b'{"created": 1, "data": []}', b'{"task": "transcribe"}', b'{"error": {}}'):
        assert document.begins_as_known(beginning)
    assert not document.begins_as_known(b'{"x": "' + b" " * 64 + b'", "created": 1}')


@pytest.mark.parametrize(
    ("listed", "is_one"),
    [
        (b'{"id": "a", "model": "flux", "object": "list", "data": [{"index": 0, "url": "https://x"}]}', True),
        (b'{"id": "a", "model": "flux", "data": [{"b64_json": "QUJD"}]}', True),
        (b'{"object": "list", "data": [{"url": "https://x"}]}', False),  # from any app
        (b'{"model": "flux", "data": [{"name": "a"}]}', False),
    ],
)
def test_list_of_urls_is_images_only_with_a_model(listed, is_one):
    assert document.may_be_images(listed) is is_one


@pytest.mark.parametrize("digits", [20, 400, 5_000, 200_000])
@pytest.mark.parametrize("sign", ["", "-"])
def test_number_of_any_length_affects_no_other(digits, sign):
    number = sign + "9" * digits
    read = document.parse(f'{{"usage":{{"prompt_tokens":{number},"completion_tokens":4}}}}'.encode())
    assert read["usage"]["completion_tokens"] == 4
    assert document.parse_elements(f'[{{"a":{number}}},{{"b":4}}, {{'.encode())[1] == {"b": 4}
    deep = "[" * 200_000 + "]" * 200_000
    assert "usage" in document.parse(f'{{"usage":{{"prompt_tokens":{number}}},"input":{deep}}}'.encode())
