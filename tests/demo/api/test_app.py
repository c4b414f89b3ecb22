"""The demo API, called as users do: with the official SDKs, in this process."""

import anthropic
import openai
import pytest

from keygauge_demo.api.answers import Answer, compose
from keygauge_demo.api.catalog import MODELS

ASK = [{"role": "user", "content": "How do I keep a nightly export short?"}]


def failing_text(model: str) -> str:
    texts = (f"Question {number}" for number in range(10_000))
    return next(text for text in texts if compose(MODELS[model], [text], cap_tokens=None).fails)


async def test_cap_cuts_the_answer(openai_client, anthropic_client):
    chat = await openai_client.chat.completions.create(model="gpt-4o-mini", messages=ASK, max_completion_tokens=5)
    message = await anthropic_client.messages.create(model="claude-haiku-4-5", messages=ASK, max_tokens=5)
    assert (chat.choices[0].finish_reason, chat.usage.completion_tokens) == ("length", 5)
    assert (message.stop_reason, message.usage.output_tokens) == ("max_tokens", 5)


async def test_long_prompts_are_partly_cached(openai_client, anthropic_client):
    text = "The export is slow. " * 400
    conversation = [{"role": "user", "content": text}]
    chat = await openai_client.chat.completions.create(model="gpt-4o-mini", messages=conversation)
    message = await anthropic_client.messages.create(model="claude-haiku-4-5", messages=conversation, max_tokens=9)
    cached = chat.usage.prompt_tokens_details.cached_tokens
    assert 0 < cached < chat.usage.prompt_tokens
    assert message.usage.cache_read_input_tokens == cached
    assert message.usage.input_tokens == chat.usage.prompt_tokens - cached


async def test_models_are_listed_for_both_sdks(openai_client, anthropic_client):
    assert {model.id async for model in openai_client.models.list()} == set(MODELS)
    assert {model.id async for model in anthropic_client.models.list()} == {"claude-haiku-4-5", "claude-sonnet-4-6"}


async def test_unknown_model_is_not_found(openai_client, anthropic_client):
    with pytest.raises(openai.NotFoundError) as refused:
        await openai_client.chat.completions.create(model="gpt-nought", messages=ASK)
    assert refused.value.code == "model_not_found"
    with pytest.raises(anthropic.NotFoundError):
        await anthropic_client.messages.create(model="claude-nought", messages=ASK, max_tokens=9)


async def test_bad_request_names_the_field(openai_client, anthropic_client):
    with pytest.raises(openai.BadRequestError, match="temperature") as refused:
        await openai_client.chat.completions.create(model="gpt-4o-mini", messages=ASK, temperature=3)
    assert refused.value.param == "temperature"
    with pytest.raises(anthropic.BadRequestError, match="max_tokens") as refused:
        await anthropic_client.messages.create(model="claude-haiku-4-5", messages=ASK, max_tokens=0)
    assert refused.value.type == "invalid_request_error"


async def test_some_requests_fail_with_a_server_error(openai_client, anthropic_client):
    conversation = [{"role": "user", "content": failing_text("gpt-4o-mini")}]
    with pytest.raises(openai.InternalServerError):
        await openai_client.chat.completions.create(model="gpt-4o-mini", messages=conversation)
    conversation = [{"role": "user", "content": failing_text("claude-haiku-4-5")}]
    with pytest.raises(anthropic.OverloadedError):
        await anthropic_client.messages.create(model="claude-haiku-4-5", messages=conversation, max_tokens=9)


def test_answers_are_deterministic():
    once, again = (compose(MODELS["gpt-4.1"], ["Hello"], cap_tokens=None) for _ in range(2))
    assert isinstance(once, Answer)
    assert once == again


def test_about_one_request_in_eighty_fails():
    answers = [compose(MODELS["gpt-4.1"], [str(number)], cap_tokens=None) for number in range(3000)]
    assert 15 < sum(answer.fails for answer in answers) < 60


async def test_health_needs_no_key(transport):
    answer = await transport.get("http://demo/healthz")
    assert answer.json() == {"status": "ok"}
