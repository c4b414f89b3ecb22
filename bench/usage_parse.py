"""Time the reading of usage: microseconds added per JSON answer and per streamed event, by provider, and peak memory.

They are compared in the same run with `json.loads` of the same body, and with LiteLLM's own extraction, in the
environment that the tests prepare for it (`BENCH_LITELLM` names another Python with LiteLLM). The last line is JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import tracemalloc
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from keygauge.usage import reader_for

sys.path.append(str(Path(__file__).parents[1] / "tests/e2e"))  # for the tests' environments of other projects
import environments

ROUNDS = 9
CALLS = 2_000
GOLDEN = Path(__file__).parents[1] / "tests/instrumentation/usage/golden"
TYPES = {".json": b"application/json", ".sse": b"text/event-stream", ".ndjson": b"application/x-ndjson"}
LARGE_BYTES = 8 * 2**20

USAGE = {"prompt_tokens": 19, "completion_tokens": 10, "total_tokens": 29}
MESSAGE_USAGE = {"input_tokens": 19, "output_tokens": 10}
TEXT = "word " * 148
TOKEN = [{"index": 0, "delta": {"content": " Hello"}, "logprobs": None, "finish_reason": None}]
CHUNK = {"id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT", "object": "chat.completion.chunk", "model": "gpt-4o-mini"}
CHAT = {
    **CHUNK,
    "object": "chat.completion",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}],
    "usage": USAGE,
}
MESSAGE = {
    "id": "msg_01XFDUDYJgAACzvnptvVoYEL",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5",
    "content": [{"type": "text", "text": TEXT}],
    "stop_reason": "end_turn",
    "usage": MESSAGE_USAGE,
}
LITELLM = """
import json, sys, time
from litellm import ModelResponse
from litellm.litellm_core_utils.llm_response_utils.convert_dict_to_response import convert_to_model_response_object
body = sys.stdin.read()
def read():
    found = convert_to_model_response_object(response_object=json.loads(body), model_response_object=ModelResponse())
    return found.usage.prompt_tokens
read()
best = 1e9
for _ in range({rounds}):
    started = time.perf_counter()
    for _ in range({calls}):
        read()
    best = min(best, (time.perf_counter() - started) / {calls})
print(best * 1e6)
"""


def event(document: dict[str, object], name: str | None = None) -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(document, separators=(',', ':'))}\n\n".encode()


def best_us(run: Callable[[], object], calls: int = CALLS) -> float:
    """Return microseconds per call in the best round, since other work on the machine can only add time."""
    rounds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for _ in range(calls):
            run()
        rounds.append((time.perf_counter() - started) / calls * 1e6)
    return round(min(rounds), 2)


def read(content_type: bytes, *chunks: bytes) -> object:
    reader = reader_for(content_type, None)
    assert reader is not None
    for chunk in chunks:
        reader.feed(chunk)
    return reader.close(complete=True)


def per_event_us(first: bytes, *chunks: bytes) -> float:
    """Feed the same events repeatedly to a stream in progress."""
    reader = reader_for(TYPES[".sse"], None)
    assert reader is not None
    reader.feed(first)

    def run() -> None:
        for piece in chunks:
            reader.feed(piece)

    return round(best_us(run) / len(chunks), 2)


def by_provider() -> dict[str, float]:
    """Time each provider's documented answers: whole ones, and streams event by event.

    The result also has the peak memory of any of them, in KiB.
    """
    took: defaultdict[str, list[float]] = defaultdict(list)
    held: defaultdict[str, float] = defaultdict(float)
    for path in sorted(GOLDEN.iterdir()):
        body = path.read_bytes()
        end = {".sse": b"\n\n", ".ndjson": b"\n"}.get(path.suffix)
        chunks = [body] if end is None else [part + end for part in body.split(end) if part]
        kind = "json" if end is None else "sse"
        us = best_us(lambda path=path, chunks=chunks: read(TYPES[path.suffix], *chunks), calls=200)
        provider = path.stem.partition("_")[0]
        took[f"{provider}_golden_{kind}_us"].append(us / len(chunks))
        name = f"{provider}_golden_peak_kb"
        held[name] = max(held[name], peak_kb(TYPES[path.suffix], *chunks))
    return {name: round(sum(times) / len(times), 2) for name, times in took.items()} | held


def peak_kb(content_type: bytes, *chunks: bytes) -> float:
    """Return the peak memory for an answer, not counting the chunks themselves."""
    tracemalloc.start()
    read(content_type, *chunks)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return round(peak / 1024, 1)


def large(head: bytes, tail: bytes) -> list[bytes]:
    """Return an answer with one member of 8 MiB, in pieces of 64 KiB."""
    piece = b"QUJD" * 2**14
    return [head, *[piece] * (LARGE_BYTES // len(piece)), tail]


def litellm_us() -> float | None:
    try:
        python = os.environ.get("BENCH_LITELLM") or environments.prepare("litellm") / "python"
    except (OSError, subprocess.SubprocessError) as error:
        print("LiteLLM is left out, its environment cannot be made here:", error)
        return None
    script = LITELLM.replace("{rounds}", "5").replace("{calls}", "300")
    done = subprocess.run([python, "-c", script], input=json.dumps(CHAT), capture_output=True, text=True, check=False)
    if done.returncode:
        print("LiteLLM is left out:", done.stderr.strip().splitlines()[-1:])
        return None
    return round(float(done.stdout.split()[-1]), 2)


def main() -> None:
    chat, message = json.dumps(CHAT).encode(), json.dumps(MESSAGE).encode()
    plain = event({**CHUNK, "choices": TOKEN})
    delta = event({"type": "content_block_delta", "index": 0, "delta": {"text": "Hello"}}, "content_block_delta")
    start = event({"type": "message_start", "message": {**MESSAGE, "content": []}}, "message_start")
    usage = json.dumps({"model": "m", "usage": USAGE})[1:].encode()
    result = {
        "openai_json_us": best_us(lambda: read(TYPES[".json"], chat)),
        "openai_sse_us": per_event_us(plain, plain),
        "openai_sse_null_usage_us": per_event_us(plain, event({**CHUNK, "choices": TOKEN, "usage": None})),
        "openai_sse_divided_us": per_event_us(plain, plain[:100], plain[100:]),
        "openai_sse_usage_us": per_event_us(plain, event({**CHUNK, "choices": [], "usage": USAGE})),
        "anthropic_json_us": best_us(lambda: read(TYPES[".json"], message)),
        "anthropic_sse_us": per_event_us(start + delta, delta),
        **by_provider(),
        "large_json_peak_kb": peak_kb(TYPES[".json"], *large(b'{"image":"', b'",' + usage)),
        "large_sse_peak_kb": peak_kb(TYPES[".sse"], *large(b'data: {"image":"', b'",' + usage + b"\n\n")),
        "json_loads_us": best_us(lambda: json.loads(chat)),
        "litellm_us": litellm_us(),
    }
    for name, value in result.items():
        print(f"{name:32} {value}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
