ASK = [{"role": "user", "content": "How do I keep a nightly export short?"}]


async def test_message_answers_with_text_and_usage(anthropic_client):
    answer = await anthropic_client.messages.create(model="claude-haiku-4-5", messages=ASK, max_tokens=500)
    assert answer.content[0].text
    assert answer.stop_reason == "end_turn"
    assert answer.usage.input_tokens > 5


async def test_message_stream_has_the_same_content_as_the_whole_answer(anthropic_client):
    order = {"model": "claude-sonnet-4-6", "messages": ASK, "max_tokens": 500, "system": "Be brief."}
    whole = await anthropic_client.messages.create(**order)
    async with anthropic_client.messages.stream(**order) as stream:
        streamed = await stream.get_final_message()
    assert streamed.content[0].text == whole.content[0].text
    assert streamed.usage.output_tokens == whole.usage.output_tokens
    assert streamed.usage.input_tokens == whole.usage.input_tokens
