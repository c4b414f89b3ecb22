"""The tools that a body calls by JSON-RPC, in every way an app may read it."""

import gzip
import json

import pytest

from keygauge.limits.limit import Limit
from keygauge.limits.reading.estimate import estimate
from keygauge.limits.reading.request_fields import BODY_BYTES_MAX


def tools(body, **options):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return estimate(data, length=len(data), path="/mcp", **options).tools


def message(name="search", method="tools/call", **params):
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"name": name, "arguments": {}} | params}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (message(), ("search",)),
        (message("", arguments={"name": "other"}), ("",)),
        (message(method="prompts/get"), ()),
        ({"jsonrpc": "2.0", "method": "notifications/initialized"}, ()),
        ({"jsonrpc": "2.0", "id": 1, "result": {"name": "other"}}, ()),
        ({"model": "m", "messages": [], "tools": [{"name": "other"}]}, ()),
        (b"", ()),
        (message(method=" Tools/Call"), ("search",)),
        (b'{"METHOD": "tools/call", "Params": {"NAME": "search"}}', ("search",)),
        (b'{"method": "ping", "method": "tools/call", "params": {"name": "search"}}', ("search",)),
        (b'{"method": "tools/call", "method": "ping", "params": {"name": "search"}}', ("search",)),
        (b'{"method": "tools/call", "params": {"name": "search", "name": "other"}}', ("search", "other")),
        (
            b'{"method": "tools/call", "params": {"name": "search"}, "params": {"name": "other"}}',
            ("search", "other"),
        ),
        (b'{"method": "tools\\/call", "params": {"name": "se\\u0061rch"}}', ("search",)),
        (json.dumps(message()).encode("utf-16"), ("search",)),
        (b"\xef\xbb\xbf" + json.dumps(message()).encode(), ("search",)),
    ],
)
def test_all_tools_that_a_message_may_call_are_found(body, expected):
    assert tools(body) == expected


@pytest.mark.parametrize(
    "body",
    [
        [message()],
        [message(), message("other")],
        [],
        message(None),
        message(7),
        message(["search"]),
        {"method": "tools/call"},
        {"method": "tools/call", "params": ["search"]},
        {"method": "tools/call", "params": {}},
        {"method": ["tools/call"], "params": {}},
        b'{"method": "tools/call", "params": {"name": "search"}, "params": ["other"]}',
        b'{"method": "tools/call", "params": {"name": "search", "name": null}}',
        b'{"method": "tools/call", "params": {"name": "search"}',
        b'"tools/call"',
        b"[" * 100_000,
        b"\xff\xfe",
        b" " * (BODY_BYTES_MAX + 1),
    ],
)
def test_messages_that_may_call_other_tools_are_unknown(body):
    assert tools(body) is None


def units(body, path="/mcp"):
    data = json.dumps(body).encode()
    return estimate(data, length=len(data), path=path).units(Limit("1:a", "tpm", "token", 5000, 60, None))


CLIENT = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "a client", "version": "1.0"}}


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("tools/list", {"cursor": "next", "_meta": {"progressToken": 1}}),
        ("initialize", CLIENT),
        ("notifications/cancelled", {"requestId": 1, "reason": "gone"}),
        ("resources/read", {"uri": "file:///readme"}),
    ],
)
def test_a_listing_reserves_no_tokens(method, params):
    assert units({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}) == 1
    assert units({"jsonrpc": "2.0", "id": 1, "method": method}) == 1


@pytest.mark.parametrize(
    "body",
    [
        message(),
        message(method="prompts/get"),
        {"jsonrpc": "2.0", "method": "tools/list", "prompt": "Tell me"},
        {"jsonrpc": "2.0", "method": "tools/list", "Messages": [{"role": "user", "content": "Tell me"}]},
        {"jsonrpc": "2.0", "method": "tools/list", "model": "m"},
        {"jsonrpc": "2.0", "method": "tools/list", "params": {"cursor": "", "input": "Tell me"}},
        {"jsonrpc": "2.0", "method": "tools/list", "params": ["Tell me"]},
        {"method": "tools/list"},
    ],
)
def test_a_message_that_a_model_may_read_reserves_tokens(body):
    assert units(body) > 1_024


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/models/m"])
def test_a_listing_sent_to_a_model_reserves_tokens(path):
    assert units({"jsonrpc": "2.0", "method": "tools/list"}, path) > 1_024


def test_compressed_messages_are_read_and_other_encodings_are_not():
    body = gzip.compress(json.dumps(message()).encode(), mtime=0)
    assert tools(body, content_encoding="gzip") == ("search",)
    assert tools(body, content_encoding="compress") is None
    assert tools(json.dumps(message()).encode(), content_type="application/json; charset=utf-7") is None
