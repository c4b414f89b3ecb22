import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keygauge.limits.limit import Limit
from keygauge.limits.reading.estimate import BODY_BYTES_MAX, Estimate, EstimateError, estimate
from keygauge.pricing.rates import Rates, cost_nanousd
from keygauge.usage import Usage

TPM = Limit("1:a", "tpm", "token", 5000, 60, None)


def read(document, path="/v1/chat/completions"):
    body = json.dumps(document).encode()
    return estimate(body, length=len(body), path=path)


@pytest.mark.parametrize(
    ("document", "output"),
    [
        ({"max_tokens": 100}, 100),
        ({"max_completion_tokens": 100, "n": 3}, 300),
        ({"max_output_tokens": 100, "max_tokens": 50}, 100),
        ({"generationConfig": {"maxOutputTokens": 100, "candidateCount": 2}}, 200),
        ({"options": {"num_predict": 100}}, 100),
        ({"options": {"num_predict": -1}}, None),
        ({"max_tokens": -1}, None),
        ({"max_output_tokens": -1.0}, None),
        ({"max_tokens": 256.0}, 256),
        ({"max_tokens": "256"}, 256),
        ({"inferenceConfig": {"maxTokens": 100}}, 100),
        ({"max_tokens": 0}, 0),
        ({"max_tokens": None}, None),
        ({}, None),
    ],
)
def test_every_name_of_the_cap_is_read(document, output):
    assert read(document).output_tokens == output


@pytest.mark.parametrize(
    ("document", "output"),
    [
        ({"max_new_tokens": 9}, 9),
        ({"parameters": {"max_new_tokens": 9}}, 9),
        ({"sampling_params": {"max_new_tokens": 9, "n": 2}}, 18),
        ({"max_gen_len": 9, "best_of": 3}, 27),
        ({"maximum_tokens": 9}, 9),
        ({"tokens_to_generate": 9}, 9),
        ({"input": {"prompt": "x", "max_tokens": 9, "n": 2}}, 18),
        ({"input": {"n": "any data"}}, None),
        ({"input": [{"max_tokens": 9}]}, None),
        ({"text": ["a", "b", "c"], "sampling_params": {"max_new_tokens": 9}}, 27),
        ({"text": ["a", "b"], "sampling_params": [{"max_new_tokens": 9}, {"max_new_tokens": 20, "n": 2}]}, 80),
        ({"inputs": ["a", "b"], "parameters": {"max_new_tokens": 9}}, 18),
        ({"inputs": "a", "parameters": {"max_new_tokens": 9}}, 9),
        ({"text": ["a", "b"], "max_tokens": 9}, 9),
        ({"inputs": [{"content": []}], "parameters": {"max_new_tokens": 9}}, 9),
        ({"input_ids": [[1, 2], [3]], "sampling_params": {"max_new_tokens": 9}}, 18),
        ({"input_ids": [1, 2], "sampling_params": {"max_new_tokens": 9}}, 9),
        ({"instances": [{"prompt": "a", "max_tokens": 9}]}, 9),
        ({"instances": [{"prompt": "a", "max_tokens": 9, "n": 2}, {"prompt": "b", "max_tokens": 20}]}, 80),
        ({"instances": [{"parameters": {"maxOutputTokens": 9, "candidateCount": 2}}]}, 18),
        ({"instances": [{"content": "a"}, {"content": "b"}], "parameters": {"maxOutputTokens": 9}}, 18),
        ({"instances": [{"prompt": "a", "max_tokens": -1}]}, None),
        ({"instances": [{"n": "many", "size": 3}, 5, None, [1]]}, None),
        ({"instances": "x", "parameters": {"maxOutputTokens": 9}}, 9),
        ({"n_predict": 9}, 9),
        ({"num_predict": 9}, 9),
        ({"n_predict": -1}, None),
        ({"max_new_tokens": -1, "max_completion_tokens": 9}, None),
        ({"options": {"num_predict": -2}}, None),
        ({"max_tokens_to_generate": 9}, 9),
        ({"max_output_len": 9}, 9),
        ({"parameters": {"max_new_tokens": 9, "num_return_sequences": 2}}, 18),
        ({"max_tokens": 9, "num_generations": 4}, 36),
        ({"session": {"max_output_tokens": "inf"}}, None),
        ({"session": {"max_response_output_tokens": 9}}, 9),
        ({"completion_args": {"max_tokens": 9}, "inputs": [{"role": "user", "content": "x"}]}, 9),
        ({"additionalModelRequestFields": {"max_tokens": 9}}, 9),
        ({"inferenceConfig": {"maxTokens": 9}, "additionalModelRequestFields": {"max_tokens": 20}}, 20),
        ({"request": {"model": "sonar", "max_tokens": 9}}, 9),
        ({"n_predict": 9, "n_cmpl": 3}, 27),
        ({"max_tokens": 9, "prompt": ["a", "b"], "n": 2}, 36),
        ({"max_tokens": 9, "prompt": [[1, 2], [3]]}, 18),
        ({"max_tokens": 9, "prompt": [1, 2, 3]}, 9),
    ],
)
def test_every_form_of_a_cap_is_read(document, output):
    assert read(document).output_tokens == output


@pytest.mark.parametrize(
    ("method", "path", "units"),
    [
        ("GET", "/v1/models", 1),
        ("GET", "/v1/responses/resp_1", 1),
        ("DELETE", "/v1/threads/1", 1),
        ("HEAD", "/", 1),
        ("POST", "/v1/responses/resp_1/cancel", 1),
        ("POST", "/v1/threads/t_1/runs/run_1", 1),
        ("POST", "/v1/messages/count_tokens", 1),
        ("POST", "/v1/files", 1),
        ("POST", "/v1/batches", 1),
        ("POST", "/v1/embeddings", 100),
        ("POST", "/v1beta/models/gemini-embedding-001:batchEmbedContents", 100),
        ("POST", "/v2/rerank", 100),
        ("POST", "/v1/chat/completions", 100 + 1024),
        ("POST", "/own", 100 + 1024),
    ],
)
def test_operations_that_write_no_tokens_reserve_none(method, path, units):
    body = json.dumps({"x": "y" * 391}).encode() if method == "POST" else b""
    assert estimate(body, length=len(body), path=path, method=method).units(TPM) == units


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        (b"x" * 800_000, "multipart/form-data; boundary=b", 1024),
        (b"x" * 800_000, "audio/mpeg", 1024),
        (b"x" * 400, "audio/mpeg", 100),
        (b"\x89PNG" * 200_000, "", 1024),
        (b"RIFF\0" * 160_000, "application/x-own", 1024),
        ("é".encode() * 5 + b"\xc3", "text/plain", 3),  # a character that is cut off is still text
        (json.dumps({"text": "hello " * 50_000}).encode(), "application/json", 75_003),
        (json.dumps({"url": "data:image/png;base64," + "iVBO" * 100_000}).encode(), "application/json", 1024 + 9),
        (b'{"text": "' + b"hello " * 50_000 + b'"}', "multipart/form-data; boundary=b", 75_003),
    ],
)
def test_input_is_estimated_from_text_and_not_from_files(body, content_type, expected):
    found = estimate(body, length=len(body), path="/v1/audio/transcriptions", content_type=content_type)
    assert found.input_tokens == expected


def test_input_of_a_compressed_body_is_estimated_from_its_content():
    body = gzip.compress(b'{"prompt": "' + b"word " * 8_000 + b'"}', mtime=0)
    assert estimate(body, length=len(body), path="/v1/chat", content_encoding="gzip").input_tokens == 10_004


@pytest.mark.parametrize("content_type", ["multipart/form-data; boundary=b", "text/csv", "application/json", ""])
@pytest.mark.parametrize("body", [b"", b"a,b\n" * 12_500])
def test_an_unread_body_never_exceeds_the_whole_limit(body, content_type):
    found = estimate(body, length=len(body) or 25_000_000, path="/v1/x", content_type=content_type)
    assert found.unread
    assert 1024 < found.units(TPM) <= TPM.amount


@pytest.mark.parametrize(
    "document",
    [
        {"max_tokens": -2},
        {"max_tokens": "-5"},
        {"max_tokens": "1" * 5_000},
        {"n_predict": -3},
        {"max_tokens": 10**9},
        {"max_tokens": "many"},
        {"max_tokens": True},
        {"max_tokens": 1.5},
        {"n": 1_000_000, "max_tokens": 1},
        {"generationConfig": {"maxOutputTokens": -5}},
        {"instances": [{"max_tokens": -5}]},
        {"options": {"num_predict": [1]}},
    ],
)
def test_an_invalid_cap_is_refused(document):
    with pytest.raises(EstimateError):
        read(document)


@pytest.mark.parametrize("value", ["many", "12 cm", 1.5, True, [1], {"of": 3}, ""])
@pytest.mark.parametrize("name", ["n", "max_length", "max_tokens"])
def test_a_value_that_is_no_number_means_something_else_where_no_model_is_called(name, value):
    found = read({name: value}, "/v1/parcels")
    assert (found.output_tokens, found.answers) == (None, 1)
    with pytest.raises(EstimateError, match=name):
        read({name: value, "model": "m"}, "/v1/parcels")
    with pytest.raises(EstimateError, match=name):
        read({name: value})


@pytest.mark.parametrize("value", [-5, "-5", 10**9, "1" * 5_000])
def test_an_absurd_cap_is_refused_everywhere(value):
    with pytest.raises(EstimateError):
        read({"max_tokens": value}, "/v1/parcels")


@pytest.mark.parametrize("value", [" 256 ", "+256", "2_56", "256\n"])
def test_an_integer_is_read_as_lenient_servers_do(value):
    assert read({"max_tokens": value}, "/v1/parcels").output_tokens == 256


@pytest.mark.parametrize("body", [b"", b"not json", b"[]", b"\xff\xfe", b'"text"'])
def test_an_unreadable_body_is_estimated_from_its_length(body):
    told = estimate(body, length=len(body), path="/x")
    unread = {"unread": True, "asks": True, "tools": None} if body else {}
    assert told == Estimate(input_tokens=-(-len(body) // 4), **unread)


def test_a_too_deeply_nested_body_may_hide_anything():
    body = b"[" * 100_000
    told = estimate(body, length=len(body), path="/x")
    assert (told.unread, told.hidden, told.models) == (True, True, None)


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b'{"model": "a", "model": "b"}', ("a", "b")),
        (b'{"model": "a", "MODEL": "b", "Model": "a"}', ("a", "b")),
        (b'{"mod\\u0065l": "a"}', ("a",)),
        (b'{"model\\u017f": ["a"]}', ("a",)),  # Go's decoder reads the long s as an s
        (b'{"model": "a", "models": ["b", "c"]}', ("a", "b", "c")),
        (b'{"model": "a, b,c,a"}', ("a", "b", "c")),  # LiteLLM calls each of them
        (b'{"model": "a", "fallbacks": ["b", {"model": "c", "stop": ["x"]}, {"a": ["d", "e"]}]}', tuple("abcde")),
        (b'{"model": "a", "context_window_fallbacks": [{"a": ["b"]}], "content_policy_fallbacks": "c"}', tuple("abc")),
        (b'{"model": "a", "fallbacks": null, "tools": null, "extra_body": null}', ("a",)),
        (b'{"model": "a", "extra_body": {"model": "b", "extra_body": {"models": ["c"]}}}', ("a", "b", "c")),
        (b'{"model": "a", "tools": [{"type": "image_generation", "model": "b"}, {"type": "function"}, 1]}', ("a", "b")),
        (b'{"tools": [{"function": {"parameters": {"properties": {"model": {"type": "string"}}}}}]}', ()),
        (b'{"model": "a", "deployment": "b", "engine_id": "c"}', ("a", "b", "c")),
        (
            b'{"session": {"model": "a"}, "tools": [{"parameters": {"model": "no"}}], "metadata": {"model": "no"}}',
            ("a",),
        ),
    ],
)
def test_every_model_that_a_server_may_read_is_found(body, named):
    told = estimate(body, length=len(body), path="/v1/x")
    assert (told.named, told.hidden) == (named, False)


@pytest.mark.parametrize("body", [b'{"model": {"id": "a"}}', b'{"model": 7}', b'{"model": ["a", 7]}'])
def test_a_model_that_is_not_a_string_may_be_any(body):
    told = estimate(body, length=len(body), path="/v1/x")
    assert (told.hidden, told.vague, told.models) == (False, True, None)


def test_caps_are_read_in_a_foreign_charset_and_models_may_be_any():
    body = '{"model": "a", "max_tokens": 9000, "method": "tools/list"}'.encode("utf-16")
    told = estimate(body, length=len(body), path="/v1/x", content_type="application/json; charset=utf-16")
    assert (told.output_tokens, told.hidden, told.models, told.tools) == (9000, False, None, None)


def test_caps_in_passed_on_members_count():
    body = b'{"max_tokens": 10, "extra_body": {"max_tokens": 4000, "n": 2}}'
    assert estimate(body, length=len(body), path="/").output_tokens == 8000


def test_repeated_and_capitalized_caps_count():
    body = b'{"max_tokens": 5, "max_tokens": 9, "MAX_TOKENS": 700, "n": 1, "N": 2}'
    assert estimate(body, length=len(body), path="/v1/x").output_tokens == 1400


def test_a_body_beyond_the_bound_is_not_parsed():
    body = json.dumps({"model": "m", "max_tokens": 5}).encode()
    told = estimate(body, length=BODY_BYTES_MAX * 3, path="/x")
    assert (told.model, told.output_tokens) == (None, None)
    assert told.input_tokens == BODY_BYTES_MAX * 3 // 4


def test_the_model_is_read_from_body_or_path():
    assert read({"model": "gpt-4o-mini"}).model == "gpt-4o-mini"
    assert read({}, "/v1beta/models/gemini-2.0-flash:generateContent").model == "gemini-2.0-flash"
    assert read({"model": 7}).model is None


def test_undeclared_output_alone_never_exceeds_the_limit():
    assert Estimate(input_tokens=10).units(TPM) == 1034
    assert Estimate(input_tokens=10, answers=9).units(TPM) == 5000
    assert Estimate(input_tokens=10, output_tokens=9000).units(TPM) == 9010
    assert Estimate(input_tokens=6000).units(TPM) == 6000


@pytest.mark.parametrize(
    ("unit", "declared", "undeclared"),
    [("token", 40, 1034), ("input_token", 10, 10), ("output_token", 30, 1024)],
)
def test_input_and_output_are_reserved_separately(unit, declared, undeclared):
    limit = Limit("1:a", unit, unit, 5000, 60, None)
    assert Estimate(input_tokens=10, output_tokens=30).units(limit) == declared
    assert Estimate(input_tokens=10).units(limit) == undeclared
    assert Estimate(output_tokens=0).units(limit) == 1  # an exhausted limit refuses reads too
    assert limit.needs_body
    assert not limit.is_plain


def test_input_beyond_the_limit_exceeds_only_limits_of_its_unit():
    large = Estimate(input_tokens=6000)
    assert large.units(Limit("1:a", "in", "input_token", 5000, 60, None)) == 6000
    assert large.units(Limit("1:a", "out", "output_token", 500, 60, None)) == 500


def test_a_request_counts_as_one_unit():
    assert Estimate(input_tokens=10).units(Limit("1:a", "rpm", "request", 5, 60, None)) == 1


rate = st.integers(0, 10**12)
prices = st.lists(st.builds(Rates, st.just(-1), *[rate] * 5, st.integers(0, 10**17)).map(lambda one: [one]), max_size=2)


@given(
    tiers=prices,
    given_tokens=st.integers(0, 10**6),
    cap=st.none() | st.integers(0, 10**7),
    amount=st.integers(0, 10**15),
    shares=st.tuples(*[st.integers(0, 10)] * 4),
)
def test_reserved_cost_covers_every_usage_within_the_estimate(tiers, given_tokens, cap, amount, shares):
    limit = Limit("1:a", "budget", "nanousd", amount, None, "month", output_default=500)
    units = Estimate("m", given_tokens, cap, named=("m",)).units(limit, tiers)
    assert 1 <= units < 2**53
    used_input, used_output, read, reasoned = shares
    made = (cap or 0) * used_output // 10
    usage = Usage(
        given_tokens * used_input // 10, made, given_tokens * used_input * read // 100, None, made * reasoned // 10
    )
    costs = [cost_nanousd(one, usage) for one in tiers]
    if cap is not None:
        assert units >= min(max(costs, default=0), 2**53 - 1)
    else:  # calls are not refused for undeclared usage
        assert units <= max(1, amount, *[one[0].most_nanousd(given_tokens, 0) for one in tiers])
