"""A stream's final counts are read with anything between its usage events, in any chunks and encodings."""

import gzip
import json
import zlib

import pytest
from bodies import ENCODINGS, divide, message
from hypothesis import given, settings
from hypothesis import strategies as st

from keygauge.usage import reader_for

COUNTS = st.integers(0, 10**6)
PLACES = st.lists(st.integers(0, 10**6), max_size=12)


def sse(document):
    return f"data: {json.dumps(document)}\n\n".encode()


def line(document):
    return json.dumps(document).encode() + b"\n"


SSE = (b"text/event-stream", [b": keep-alive\n\n", sse({"type": "ping"}), b"event: note\nid: 7\n\n"])
NDJSON = (b"application/x-ndjson", [b"\n"])
BINARY = (b"application/vnd.amazon.eventstream", [])


def openai(given_tokens, made):
    told = {"prompt_tokens": given_tokens, "completion_tokens": made, "total_tokens": given_tokens + made}
    text = {"id": "c", "model": "gpt-4o", "choices": [{"delta": {"content": "usage tokens"}}]}
    return SSE, [sse(text)], [sse({"id": "c", "model": "gpt-4o", "choices": [], "usage": told})]


def continuous(given_tokens, made):
    chunks = [
        {
            "id": "c",
            "model": "m",
            "choices": [{"delta": {"content": "x"}}] if count < made else [],
            "usage": {"prompt_tokens": given_tokens, "completion_tokens": count, "total_tokens": given_tokens + count},
        }
        for count in (0, made // 2, made)
    ]
    return SSE, [sse({"id": "c", "choices": [{"delta": {"content": "x"}}], "usage": None})], list(map(sse, chunks))


def groq(given_tokens, made):
    told = {"prompt_tokens": given_tokens, "completion_tokens": made, "total_tokens": given_tokens + made}
    return (
        SSE,
        [sse({"id": "c", "choices": [{"delta": {"content": "x"}}]})],
        [sse({"id": "c", "choices": [{"delta": {}, "finish_reason": "stop"}], "x_groq": {"id": "r", "usage": told}})],
    )


def anthropic(given_tokens, made):
    start = {"id": "m", "model": "claude", "usage": {"input_tokens": given_tokens, "output_tokens": min(made, 1)}}
    deltas = [{"input_tokens": 0, "output_tokens": made // 2}, {"output_tokens": made}]
    return (
        SSE,
        [sse({"type": "content_block_delta", "delta": {"text": '"usage": {'}})],
        [
            sse({"type": "message_start", "message": start}),
            *(sse({"type": "message_delta", "delta": {}, "usage": usage}) for usage in deltas),
            sse({"type": "message_stop"}),
        ],
    )


def gemini(given_tokens, made):
    told = [{"promptTokenCount": given_tokens, "candidatesTokenCount": count} for count in (made // 2, made)]
    last = {"candidates": [{"finishReason": "STOP"}], "usageMetadata": told[1]}
    return SSE, [sse({"candidates": [{"content": {}}]})], [sse({"usageMetadata": told[0]}), sse(last)]


def responses(given_tokens, made):
    told = {"id": "r", "model": "gpt-4.1", "usage": {"input_tokens": given_tokens, "output_tokens": made}}
    started = sse({"type": "response.created", "response": {"id": "r", "model": "gpt-4.1", "usage": None}})
    texts = [sse({"type": "response.output_text.delta", "delta": "tokens"})]
    return SSE, texts, [started, sse({"type": "response.completed", "response": told})]


def cohere(given_tokens, made):
    usage = {"billed_units": {"input_tokens": given_tokens, "output_tokens": made}, "tokens": {"input_tokens": 1}}
    return (
        SSE,
        [sse({"type": "content-delta", "delta": {"message": {"content": {"text": "tokens"}}}})],
        [
            sse({"type": "message-start", "id": "a"}),
            sse({"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": usage}}),
        ],
    )


def cohere_v1(given_tokens, made):
    meta = {"billed_units": {"input_tokens": given_tokens, "output_tokens": made}}
    return (
        NDJSON,
        [line({"event_type": "text-generation", "text": "tokens"})],
        [line({"event_type": "stream-end", "response": {"meta": meta}})],
    )


def ollama(given_tokens, made):
    last = {"model": "m", "done": True, "prompt_eval_count": given_tokens, "eval_count": made}
    return NDJSON, [line({"model": "m", "done": False, "response": "eval_count"})], [line(last)]


def mistral(given_tokens, made):
    usage = {"prompt_tokens": given_tokens, "completion_tokens": made, "total_tokens": given_tokens + made}
    return (
        SSE,
        [sse({"type": "message.output.delta", "content": "tokens"})],
        [sse({"type": "conversation.response.done", "usage": usage})],
    )


def interaction(given_tokens, made):
    usage = {"total_input_tokens": given_tokens, "total_output_tokens": made}
    return (
        SSE,
        [sse({"event_type": "content.delta", "delta": {"text": "tokens"}})],
        [sse({"event_type": "interaction.complete", "interaction": {"id": "i", "usage": usage}})],
    )


def bedrock(given_tokens, made):
    usage = {"inputTokens": given_tokens, "outputTokens": made, "totalTokens": given_tokens + made}
    return (
        BINARY,
        [message({"delta": {"text": "tokens"}}, event_type="contentBlockDelta")],
        [message({"usage": usage}, event_type="metadata")],
    )


MAKERS = [
    *(openai, continuous, groq, anthropic, gemini, responses, cohere, cohere_v1, ollama, mistral, interaction, bedrock)
]


def members(body):
    """Compress each half separately, with zero padding between them."""
    half = len(body) // 2
    return gzip.compress(body[:half]) + b"\0" * 7 + gzip.compress(body[half:])


def deflate_bare(body):
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(body) + compressor.flush()


ENCODED = [*ENCODINGS.items(), (b"gzip", members), (b"deflate", deflate_bare)]


@pytest.mark.parametrize("make", MAKERS)
@given(COUNTS, COUNTS, PLACES, PLACES, st.sampled_from(ENCODED))
@settings(deadline=None, max_examples=40)
def test_final_counts_of_the_provider_are_read(make, given_tokens, made, order, cuts, encoded):
    (content_type, comments), texts, told = make(given_tokens, made)
    noise = [*texts, *comments]
    events = list(told)
    for place in order:  # events with usage stay in order
        events.insert(place % (len(events) + 1), noise[place % len(noise)])
    encoding, encode = encoded
    reader = reader_for(content_type, encoding)
    for chunk in divide(encode(b"".join(events)), cuts):
        reader.feed(chunk)
    reading = reader.close(complete=True)
    assert (reading.usage[:2], reading.status) == ((given_tokens, made), "reported")
