"""The official SDKs of OpenAI and Anthropic understand every answer of a metered API, from KeyGauge and the app."""

import time

import anthropic
import openai
import pytest

from keygauge import key as key_format
from keygauge_keyservice.accounts.plans import Limit

WIDE = Limit(name="rpm", unit="request", amount=100_000, window_s=60)
ASK = [{"role": "user", "content": "How do I keep a nightly export short?"}]
TOKENS = "status, model, provider, input_tokens, output_tokens, stream, usage_status"


def test_chat_is_answered_and_its_tokens_are_in_the_ledger(shared_stack, eventually):
    key, token = shared_stack.create_key(WIDE)
    client = shared_stack.openai(token)
    whole = client.chat.completions.create(model="gpt-5.4-mini", messages=ASK)
    stream = client.chat.completions.create(
        model="gpt-5.4-mini", messages=ASK, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole.choices[0].message.content
    usage = (whole.usage.prompt_tokens, whole.usage.completion_tokens)
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == usage
    rows = [(200, "gpt-5.4-mini", "openai", *usage, stream, "reported") for stream in (None, "sse")]
    eventually(lambda: shared_stack.ledger(key.id, TOKENS), rows)


def test_message_is_answered_and_its_tokens_are_in_the_ledger(shared_stack, eventually):
    key, token = shared_stack.create_key(WIDE)
    client = shared_stack.anthropic(token)
    order = {"model": "claude-haiku-4-5", "messages": [{"role": "user", "content": "Read this. " * 600}]}
    whole = client.messages.create(**order, max_tokens=200)
    with client.messages.stream(**order, max_tokens=200) as stream:
        streamed = stream.get_final_message()
    assert streamed.content[0].text == whole.content[0].text
    assert whole.usage.cache_read_input_tokens > 0
    usage = (whole.usage.input_tokens + whole.usage.cache_read_input_tokens, whole.usage.output_tokens)
    rows = [(200, "claude-haiku-4-5", "anthropic", *usage, stream, "reported") for stream in (None, "sse")]
    eventually(lambda: shared_stack.ledger(key.id, TOKENS), rows)


def test_metrics_count_the_same_as_the_ledger(shared_stack, eventually):
    key, token = shared_stack.create_key(WIDE)
    answers = [shared_stack.openai(token).chat.completions.create(model="gpt-4o-mini", messages=ASK) for _ in range(3)]
    tokens = sum(answer.usage.prompt_tokens for answer in answers)
    labels = {"keygauge_key_id": key.id}
    eventually(lambda: shared_stack.ledger(key.id, "input_tokens"), [(tokens // 3,)] * 3)
    assert shared_stack.metric("keygauge_requests_total", **labels, http_response_status_code="200") == 3
    assert shared_stack.metric("keygauge_tokens_total", **labels, gen_ai_token_type="input") == tokens


@pytest.mark.parametrize(
    "token",
    ["garbage", "kg_live_000000000000_00000000000000000000000000000000000000", key_format.generate("live", "0" * 12)],
    ids=["garbage", "wrong checksum", "unknown"],
)
def test_unknown_keys_raise_authentication_errors(shared_stack, token):
    with pytest.raises(openai.AuthenticationError) as refused:
        shared_stack.openai(token).chat.completions.create(model="gpt-4o-mini", messages=ASK)
    assert refused.value.code == "key_invalid"
    assert "API key not accepted" in str(refused.value)
    assert refused.value.response.headers["www-authenticate"].startswith("Bearer")
    with pytest.raises(anthropic.AuthenticationError):
        shared_stack.anthropic(token).messages.create(model="claude-haiku-4-5", messages=ASK, max_tokens=9)


def test_disabled_key_raises_authentication_errors_until_it_is_enabled(shared_stack, eventually):
    key, token = shared_stack.create_key(WIDE)
    client = shared_stack.openai(token)
    assert outcome(client) is None
    for status, expected in (("disabled", openai.AuthenticationError), ("active", None)):
        shared_stack.set_status(key.id, status)
        eventually(lambda: outcome(client), expected)


def test_forbidden_endpoint_raises_permission_errors(shared_stack, eventually):
    key, token = shared_stack.create_key(WIDE, routes=["/v1/models"])
    assert shared_stack.openai(token).models.list().data
    with pytest.raises(openai.PermissionDeniedError) as refused:
        shared_stack.openai(token).chat.completions.create(model="gpt-4o-mini", messages=ASK)
    assert refused.value.code == "endpoint_not_allowed"
    assert "Endpoint not allowed" in str(refused.value)
    with pytest.raises(anthropic.PermissionDeniedError):
        shared_stack.anthropic(token).messages.create(model="claude-haiku-4-5", messages=ASK, max_tokens=9)
    eventually(lambda: shared_stack.ledger(key.id), [(200, "admitted"), (403, "forbidden"), (403, "forbidden")])


def outcome(client):
    try:
        client.models.list()
    except openai.APIStatusError as error:
        return type(error)
    return None


def test_reached_limit_raises_rate_limit_errors(shared_stack, eventually):
    key, token = shared_stack.create_key(Limit(name="rpm", unit="request", amount=1, window_s=60))
    shared_stack.openai(token).models.list()
    with pytest.raises(openai.RateLimitError) as refused:
        shared_stack.openai(token).chat.completions.create(model="gpt-4o-mini", messages=ASK)
    assert refused.value.code == "rate_limited"
    assert 0 < int(refused.value.response.headers["retry-after"]) <= 64
    assert refused.value.response.headers["x-ratelimit-limit-requests"] == "1"
    with pytest.raises(anthropic.RateLimitError):
        shared_stack.anthropic(token).messages.create(model="claude-haiku-4-5", messages=ASK, max_tokens=9)
    eventually(lambda: shared_stack.ledger(key.id), [(200, "admitted"), (429, "limited"), (429, "limited")])


def test_exhausted_quota_raises_rate_limit_errors_without_retries(shared_stack, eventually):
    key, token = shared_stack.create_key(Limit(name="monthly_requests", unit="request", amount=2, period="month"))
    client = shared_stack.openai(token, max_retries=2)
    client.models.list()
    client.models.list()
    with pytest.raises(openai.RateLimitError) as refused:
        client.models.list()
    assert refused.value.code == "quota_exhausted"
    assert refused.value.response.headers["x-should-retry"] == "false"
    eventually(lambda: shared_stack.ledger(key.id, "outcome"), [("admitted",), ("admitted",), ("quota",)])


@pytest.mark.parametrize("sdk", ["openai", "anthropic"])
def test_retries_honour_retry_after(shared_stack, sdk, eventually):
    key, token = shared_stack.create_key(Limit(name="burst", unit="request", amount=1, window_s=5))
    client = getattr(shared_stack, sdk)(token, max_retries=1)
    client.models.list()
    started = time.monotonic()
    assert client.models.list().data  # refused once, then answered
    assert time.monotonic() - started > 0.9
    eventually(lambda: shared_stack.ledger(key.id, "status"), [(200,), (429,), (200,)])


def test_the_apps_own_errors_pass_unchanged(shared_stack, eventually):
    key, token = shared_stack.create_key(WIDE)
    with pytest.raises(openai.BadRequestError, match="temperature"):
        shared_stack.openai(token).chat.completions.create(model="gpt-4o-mini", messages=ASK, temperature=9)
    with pytest.raises(anthropic.NotFoundError):
        shared_stack.anthropic(token).messages.create(model="claude-nought", messages=ASK, max_tokens=9)
    eventually(lambda: shared_stack.ledger(key.id), [(400, "admitted"), (404, "admitted")])
