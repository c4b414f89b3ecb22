"""Bodies of any kind, valid, corrupted and hostile, and their division into chunks."""

import gzip
import json
import zlib
from pathlib import Path

import brotli
import zstandard
from hypothesis import strategies as st

GOLDEN = [
    path.read_bytes() for path in sorted((Path(__file__).parent / "instrumentation" / "usage" / "golden").iterdir())
]
CONTENT_TYPES = st.sampled_from([b"application/json", b"text/event-stream", b"application/x-ndjson"])
ENCODINGS = {
    None: bytes,
    b"gzip": gzip.compress,
    b"deflate": zlib.compress,
    b"br": brotli.compress,
    b"zstd": zstandard.compress,
}
KEYS = [
    *("usage", "model", "type", "object", "choices", "finish_reason", "message", "delta", "response", "metadata"),
    *("prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "cached_tokens"),
    *("completion_tokens_details", "reasoning_tokens", "input_tokens", "output_tokens", "cache_read_input_tokens"),
    *("cache_creation_input_tokens", "usageMetadata", "promptTokenCount", "thoughtsTokenCount", "candidates"),
    *("meta", "billed_units", "eval_count", "prompt_eval_count", "done", "tokens_evaluated", "inputTokens"),
]
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.floats(),
    st.integers(-5, 100),
    st.sampled_from(
        [10**9, 10**9 + 1, 2**53, 10**400, "message_start", "message_delta", "message-end", "response.completed"]
    ),
    st.text(max_size=5),
)
DOCUMENTS = st.recursive(
    VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner), max_leaves=25
)
FRAMES = st.one_of(
    DOCUMENTS.map(lambda document: b"data: " + json.dumps(document).encode() + b"\n\n"),
    DOCUMENTS.map(lambda document: json.dumps(document).encode() + b"\n"),
    st.sampled_from([b"\r", b"\n", b"\r\n", b"data", b"data:", b": x", b'"usage"', b"\xef\xbb\xbf", b"\\", b'"']),
    st.binary(max_size=20),
)


@st.composite
def bodies(draw):
    body = draw(
        st.one_of(
            st.binary(max_size=200),
            DOCUMENTS.map(lambda document: json.dumps(document).encode()),
            st.lists(FRAMES, max_size=8).map(b"".join),
            st.sampled_from(GOLDEN),
        )
    )
    if body and draw(st.booleans()):  # corrupt it somewhere
        place = draw(st.integers(0, len(body)))
        body = body[:place] + draw(st.binary(max_size=3)) + body[place + draw(st.integers(0, 3)) :]
    return body


def divide(body, places):
    places = sorted({place % (len(body) + 1) for place in places})
    return [body[a:b] for a, b in zip([0, *places], [*places, len(body)], strict=True)]


def message(payload, **headers):
    """Return a message of Amazon's event stream encoding."""
    head = b""
    for name, value in headers.items():
        field = f":{name.replace('_', '-')}".encode()
        head += bytes([len(field)]) + field + b"\x07" + len(value).to_bytes(2, "big") + value.encode()
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    prelude = (len(head) + len(body) + 16).to_bytes(4, "big") + len(head).to_bytes(4, "big")
    prelude += zlib.crc32(prelude).to_bytes(4, "big")
    return prelude + head + body + zlib.crc32(prelude + head + body).to_bytes(4, "big")
