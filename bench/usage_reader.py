"""Time the usage reader: microseconds per SSE chunk and per 1 kB JSON answer; the last line is one JSON object."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from keygauge.usage import reader_for

ROUNDS = 9
CALLS = 5_000


def chunk(**members: object) -> bytes:
    document = {
        "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
        "object": "chat.completion.chunk",
        "created": 1741569952,
        "model": "gpt-4o-mini-2024-07-18",
        "system_fingerprint": "fp_44709d6fcb",
        **members,
    }
    return b"data: " + json.dumps(document, separators=(",", ":")).encode() + b"\n\n"


USAGE = {"prompt_tokens": 19, "completion_tokens": 10, "total_tokens": 29}
TOKEN = [{"index": 0, "delta": {"content": " Hello"}, "logprobs": None, "finish_reason": None}]
PLAIN = chunk(choices=TOKEN)
NULL = chunk(choices=TOKEN, usage=None)
TELLING = chunk(choices=[], usage=USAGE)
ANTHROPIC = (
    b"event: content_block_delta\n"
    b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hello"}}\n\n'
)
BODY = json.dumps(
    {
        "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
        "object": "chat.completion",
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "word " * 148}, "finish_reason": "stop"}],
        "usage": USAGE,
    },
).encode()


def best_us(run: Callable[[], object]) -> float:
    """Return microseconds per call in the best round: the machine's other work only ever adds."""
    rounds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for _ in range(CALLS):
            run()
        rounds.append((time.perf_counter() - started) / CALLS * 1e6)
    return round(min(rounds), 2)


def per_chunk_us(*chunks: bytes) -> float:
    """Feed the same chunks again and again to a stream that is under way."""
    reader = reader_for(b"text/event-stream", None)
    assert reader is not None
    reader.feed(PLAIN)

    def run() -> None:
        for piece in chunks:
            reader.feed(piece)

    return round(best_us(run) / len(chunks), 2)


def read_body() -> None:
    reader = reader_for(b"application/json", None)
    assert reader is not None
    reader.feed(BODY)
    reader.close(complete=True)


def main() -> None:
    result = {
        "sse_chunk_us": per_chunk_us(PLAIN),
        "sse_null_usage_chunk_us": per_chunk_us(NULL),
        "sse_anthropic_chunk_us": per_chunk_us(ANTHROPIC),
        "sse_half_chunk_us": per_chunk_us(PLAIN[:100], PLAIN[100:]),
        "sse_usage_chunk_us": per_chunk_us(TELLING),
        f"json_{len(BODY)}_bytes_us": best_us(read_body),
        "of_that_json_loads_us": best_us(lambda: json.loads(BODY)),
    }
    for name, value in result.items():
        print(f"{name:28} {value:8.2f}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
