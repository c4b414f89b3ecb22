"""Cloudflare's answers, which are wrapped in a `result`."""

import json

from keygauge.usage import Usage, reader_for
from keygauge.usage.providers import cloudflare


def test_only_answers_with_success_are_read():
    result = {"result": {"usage": {"prompt_tokens": 1}}}
    assert cloudflare.usage_of(result | {"success": True}) == {"prompt_tokens": 1}
    assert cloudflare.usage_of(result) is None
    assert cloudflare.usage_of({"success": True, "result": ["usage"]}) is None


def test_long_answer_has_its_usage():
    usage = {"prompt_tokens": 7, "completion_tokens": 900_000, "total_tokens": 900_007}
    body = json.dumps({"result": {"response": "word " * 900_000, "usage": usage}, "success": True}).encode()
    reader = reader_for(b"application/json", None)
    for start in range(0, len(body), 2**16):
        reader.feed(body[start : start + 2**16])
    assert reader.close(complete=True).usage == Usage(7, 900_000)
