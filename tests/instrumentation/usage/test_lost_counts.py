"""Whatever a gateway spoils in an answer, no plausible count is dropped in silence."""

import json
from pathlib import Path

import pytest
from bodies import divide
from hypothesis import given, settings
from hypothesis import strategies as st

from keygauge.usage import Usage, reader_for

GOLDEN = Path(__file__).parent / "golden"
TELLING_NONE = {"cohere_classify.json", "cohere_rerank.json", "openai_error.json"}
WHOLE = sorted(path.name for path in GOLDEN.glob("*.json") if path.name not in TELLING_NONE)
SPOILED = st.sampled_from([-1, 10**12, 0.5, "many", [3], {}, True, "-3", 1e300])
ORDINARY = st.sampled_from(["float", "text"])
COUNTS = st.integers(0, 10**6)


def read(body, content_type=b"application/json"):
    reader = reader_for(content_type, None)
    for chunk in body if isinstance(body, list) else [body]:
        reader.feed(chunk)
    return reader.close(complete=True)


def places(document, path=()):
    """Yield the path of every number in the parts of a document that tell usage."""
    for name, value in document.items() if isinstance(document, dict) else enumerate(document):
        inner = (*path, name)
        if isinstance(value, dict | list):
            yield from places(value, inner)
        elif type(value) is int and any(isinstance(one, str) and one.startswith(("usage", "meta")) for one in inner):
            yield inner


def put(document, path, value):
    copy = json.loads(json.dumps(document))
    holder = copy
    for name in path[:-1]:
        holder = holder[name]
    holder[path[-1]] = value
    return copy


@pytest.mark.parametrize("name", WHOLE)
@given(data=st.data())
@settings(deadline=None, max_examples=30)
def test_a_count_that_cannot_be_is_told_and_the_others_kept(name, data):
    document = json.loads((GOLDEN / name).read_bytes())
    spots = list(places(document))
    if not spots:
        return
    path, value = data.draw(st.sampled_from(spots)), data.draw(SPOILED)
    before = read(json.dumps(document).encode()).usage
    usage, _, _, status, missing = read(json.dumps(put(document, path, value)).encode())
    lost = [name for name in Usage._fields[:5] if getattr(before, name) and not getattr(usage or Usage(), name)]
    if lost or (before.details and not (usage and usage.details)):
        assert (status, missing) in {("partial", "bad_counts"), ("none", "bad_counts")}
    assert len(lost) <= 2, "one spoiled count takes with it at most what it is a part of"


@pytest.mark.parametrize("name", WHOLE)
@given(data=st.data())
@settings(deadline=None, max_examples=10)
def test_counts_in_other_spellings_are_the_same(name, data):
    document = json.loads((GOLDEN / name).read_bytes())
    expected = read(json.dumps(document).encode())
    for path in places(document):
        holder = document
        for one in path[:-1]:
            holder = holder[one]
        spell = {"float": float, "text": str}[data.draw(ORDINARY)]
        if not any(
            isinstance(one, str) and "etails" in one for one in path
        ):  # lists of modalities are read as they are
            holder[path[-1]] = spell(holder[path[-1]])
    usage, model, provider, status, missing = read(json.dumps(document).encode())
    assert (usage[:2], model, provider) == (expected.usage[:2], expected.model, expected.provider)
    assert (status, missing) == ("reported", None)


def event(document):
    return f"data: {json.dumps(document)}\n\n".encode()


def openai_events(given_tokens, made):
    chunk = {"id": "c", "model": "gpt-4o", "choices": [{"delta": {"content": "usage tokens"}}]}
    told = {"prompt_tokens": given_tokens, "completion_tokens": made, "total_tokens": given_tokens + made}
    return [event(chunk)] * 3, [event({"id": "c", "model": "gpt-4o", "choices": [], "usage": told})]


def anthropic_events(given_tokens, made):
    start = {"id": "m", "model": "claude", "usage": {"input_tokens": given_tokens, "output_tokens": min(made, 1)}}
    deltas = [{"input_tokens": 0, "output_tokens": made // 2}, {"output_tokens": made}]
    told = [event({"type": "message_start", "message": start})]
    return [event({"type": "content_block_delta", "delta": {"text": '"usage": {'}})] * 3, [
        *told,
        *(event({"type": "message_delta", "delta": {}, "usage": usage}) for usage in deltas),
        event({"type": "message_stop"}),
    ]


def gemini_events(given_tokens, made):
    told = [{"promptTokenCount": given_tokens, "candidatesTokenCount": count} for count in (made // 2, made)]
    last = {"candidates": [{"finishReason": "STOP"}], "usageMetadata": told[1]}
    return [event({"candidates": [{"content": {}}]})] * 3, [event({"usageMetadata": told[0]}), event(last)]


def responses_events(given_tokens, made):
    told = {"id": "r", "model": "gpt-4.1", "usage": {"input_tokens": given_tokens, "output_tokens": made}}
    started = event({"type": "response.created", "response": {"id": "r", "model": "gpt-4.1", "usage": None}})
    texts = [event({"type": "response.output_text.delta", "delta": "tokens"})] * 3
    return texts, [started, event({"type": "response.completed", "response": told})]


@given(
    st.sampled_from([openai_events, anthropic_events, gemini_events, responses_events]),
    COUNTS,
    COUNTS,
    st.lists(st.integers(0, 9), max_size=12),
    st.lists(st.integers(0, 10**6), max_size=12),
)
@settings(deadline=None, max_examples=300)
def test_any_interleaving_and_chunking_gives_the_providers_own_count(make, given_tokens, made, order, cuts):
    texts, told = make(given_tokens, made)
    noise = [*texts, b": keep-alive\n\n", event({"type": "ping"}), b"data: [DONE]\n\n"]
    events = list(told)
    for place in order:  # what tells stays in its order
        events.insert(place % (len(events) + 1), noise[place % len(noise)])
    chunks = divide(b"".join(events), cuts)
    reading = read(chunks, b"text/event-stream")
    assert (reading.usage[:2], reading.status) == ((given_tokens, made), "reported")
