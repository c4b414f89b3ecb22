"""No plausible count is silently dropped, whichever part of an answer a gateway breaks."""

import json
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keygauge.usage import Usage, reader_for

GOLDEN = Path(__file__).parent / "golden"
TELLING_NONE = {"anthropic_batch.json", "openai_error.json"}
WHOLE = sorted(path.name for path in GOLDEN.glob("*.json") if path.name not in TELLING_NONE)
SPOILED = st.sampled_from([-1, 10**12, 0.5, "many", [3], {}, True, "-3", 1e300])
ORDINARY = st.sampled_from(["float", "text"])


def read(body):
    reader = reader_for(b"application/json", None)
    reader.feed(body)
    return reader.close(complete=True)


def places(document, path=()):
    """Yield the path of every number in the usage parts of a document."""
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
def test_impossible_count_is_reported_and_the_others_kept(name, data):
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


def documents(name):
    """Return each document of an answer, with a function that rebuilds the whole answer with another in its place."""
    body = (GOLDEN / name).read_bytes()
    if name.endswith(".json"):
        return [(json.loads(body), bytes)]
    lines, head = body.split(b"\n"), b"data: " if name.endswith(".sse") else b""

    def replace(number, document):
        return b"\n".join([*lines[:number], head + document, *lines[number + 1 :]])

    told = [(number, line.removeprefix(head)) for number, line in enumerate(lines) if line.startswith(head + b"{")]
    return [(json.loads(line), partial(replace, number)) for number, line in told]


def all_counted(name, body):
    """Return the sum of all usage in an answer, and why it is incomplete."""
    types = {".json": b"application/json", ".sse": b"text/event-stream", ".ndjson": b"application/x-ndjson"}
    reader = reader_for(types[Path(name).suffix], None)
    reader.feed(body)
    reading = reader.close(complete=True)
    readings = [reading, *(part.reading for part in reader.others)]
    told = [one.usage or Usage() for one in readings]
    counts = [count or 0 for usage in told for count in (*usage[:5], *(usage.details or {}).values())]
    return sum(counts), {one.missing for one in readings}


@pytest.mark.parametrize("name", sorted(path.name for path in GOLDEN.iterdir()))
@pytest.mark.parametrize("value", [-1, "many"])
def test_no_count_is_silently_lost(name, value):
    whole, _ = all_counted(name, (GOLDEN / name).read_bytes())
    for document, replace in documents(name):
        for path in places(document):
            counted, missing = all_counted(name, replace(json.dumps(put(document, path, value)).encode()))
            assert counted >= whole or "bad_counts" in missing, path


@pytest.mark.parametrize("name", WHOLE)
@given(data=st.data())
@settings(deadline=None, max_examples=10)
def test_counts_in_other_notations_are_the_same(name, data):
    document = json.loads((GOLDEN / name).read_bytes())
    expected = read(json.dumps(document).encode())
    for path in places(document):
        holder = document
        for one in path[:-1]:
            holder = holder[one]
        spell = {"float": float, "text": str}[data.draw(ORDINARY)]
        if not any(isinstance(one, str) and "etails" in one for one in path):  # lists of modalities have one spelling
            holder[path[-1]] = spell(holder[path[-1]])
    usage, model, provider, status, missing = read(json.dumps(document).encode())
    assert (usage[:2], model, provider) == (expected.usage[:2], expected.model, expected.provider)
    assert (status, missing) == ("reported", None)
