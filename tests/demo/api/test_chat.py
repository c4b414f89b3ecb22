ASK = [{"role": "user", "content": "How do I keep a nightly export short?"}]


async def test_chat_answers_with_text_and_usage(openai_client):
    answer = await openai_client.chat.completions.create(model="gpt-4o-mini", messages=ASK)
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 10


async def test_chat_stream_has_the_same_content_as_the_whole_answer(openai_client):
    whole = await openai_client.chat.completions.create(model="gpt-5.4-mini", messages=ASK)
    stream = await openai_client.chat.completions.create(
        model="gpt-5.4-mini", messages=ASK, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert streamed == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage
    assert whole.usage.completion_tokens_details.reasoning_tokens > 0


async def test_chat_stream_includes_usage_only_on_request(openai_client):
    stream = await openai_client.chat.completions.create(model="gpt-4o-mini", messages=ASK, stream=True)
    assert [chunk.usage async for chunk in stream if chunk.usage] == []
