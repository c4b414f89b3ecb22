"""The API is killed under traffic: every answered call is in the ledger exactly once."""

import asyncio
import itertools
from collections import Counter

import openai

from keygauge_demo.api.answers import compose, count_tokens
from keygauge_demo.api.catalog import MODELS
from keygauge_keyservice.accounts.plans import Limit

MODEL = "gpt-4o-mini"
CALLERS = 6
RUN_S = 1.5
ANSWERED_MIN = 10


def questions():
    """Yield texts with different numbers of tokens, so that they can be distinguished in the ledger."""
    for length in itertools.count(1):
        text = "word" * length
        if not compose(MODELS[MODEL], [text], cap_tokens=None).fails:
            yield text


async def call(client, text, answered, *, streamed):
    ask = {"model": MODEL, "messages": [{"role": "user", "content": text}], "max_completion_tokens": 8}
    try:
        if streamed:
            stream = await client.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True})
            usage = [chunk.usage async for chunk in stream][-1]
        else:
            usage = (await client.chat.completions.create(**ask)).usage
    except (openai.APIConnectionError, openai.APIError):
        return
    if usage is not None:  # the stream was complete
        answered.append(usage.prompt_tokens)


async def keep_calling(client, texts, sent, answered, stop):
    for text in texts:
        if stop.is_set():
            return
        sent.append(count_tokens([text]))
        await call(client, text, answered, streamed=len(sent) % 2 == 0)


async def drive(stack, token, texts, seconds, *, kill):
    sent, answered, stop = [], [], asyncio.Event()
    async with openai.AsyncOpenAI(api_key=token, base_url=f"{stack.api_url}/v1", max_retries=0) as client:
        callers = [asyncio.create_task(keep_calling(client, texts, sent, answered, stop)) for _ in range(CALLERS)]
        await asyncio.sleep(seconds)
        async with asyncio.timeout(30):
            while kill and len(answered) < ANSWERED_MIN:  # on a busy machine
                await asyncio.sleep(0.05)
        stop.set()
        if kill:
            await asyncio.to_thread(stack.api.kill)
        await asyncio.gather(*callers)
    return sent, answered


async def test_answered_calls_survive_a_kill(stack, eventually):
    key, token = stack.create_key(Limit(name="rpm", unit="request", amount=100_000, window_s=60))
    texts = questions()
    sent, answered = await drive(stack, token, texts, RUN_S, kill=True)
    assert len(answered) >= ANSWERED_MIN
    assert len(sent) > len(answered)  # some were interrupted
    stack.start_api()
    more_sent, more_answered = await drive(stack, token, texts, 0.5, kill=False)
    assert more_sent == sorted(more_answered)
    wanted = set(answered) | set(more_answered)

    def found():
        return Counter(tokens for (tokens,) in stack.ledger(key.id, "input_tokens"))

    eventually(lambda: wanted - set(found()), set())
    await asyncio.sleep(1.5)  # a batch sent twice would have arrived by now
    assert {tokens: count for tokens, count in found().items() if count > 1 and tokens is not None} == {}
    assert set(found()) - {None} <= set(sent) | set(more_sent)
