import pytest

from keygauge.http.forwarding import client_ip
from keygauge.limits.key_policy import FREE, KeyPolicy
from keygauge.limits.reading.estimate import Estimate, estimate
from keygauge.networks import parse_networks


@pytest.mark.parametrize(
    ("networks", "ip", "is_admitted"),
    [
        ([], None, True),
        (["192.0.2.0/24"], "192.0.2.77", True),
        (["192.0.2.0/24"], "192.0.3.1", False),
        (["192.0.2.7/32", "2001:db8::/32"], "2001:db8:1::5", True),
        (["2001:db8::/32"], "2001:db9::1", False),
        (["192.0.2.0/24"], "::ffff:192.0.2.9", True),
        (["fe80::/10"], "fe80::1%eth0", True),
        (["192.0.2.0/24"], None, False),
        (["192.0.2.0/24"], "testclient", False),
        (["nonsense"], "192.0.2.1", False),
    ],
)
def test_addresses_are_admitted(networks, ip, is_admitted):
    assert KeyPolicy.from_json({"networks": networks}).admits_ip(ip) is is_admitted


@pytest.mark.parametrize(
    ("routes", "route", "is_admitted"),
    [
        ([], "/anything", True),
        (["/v1/chat"], "/v1/chat", True),
        (["/v1/chat"], "/v1/chat/completions", False),
        (["/v1/chat*"], "/v1/chat/completions", True),
        (["/v1/chat*"], "/v2/chat", False),
        (["/v1/files/{id}"], "/v1/files/{id}", True),
        (["/v1/chat"], "_unmatched", False),
    ],
)
def test_routes_are_admitted(routes, route, is_admitted):
    assert KeyPolicy.from_json({"routes": routes}).admits_route(route) is is_admitted


@pytest.mark.parametrize(
    ("path", "body", "is_admitted"),
    [
        ("/v1/chat/completions", b'{"model": "gpt-4o-mini"}', True),
        ("/v1/chat/completions", b'{"model": "gpt-4o"}', False),
        ("/v1/messages", b'{"model": "claude-haiku-4-5"}', True),
        ("/v1/messages", b'{"model": ["claude-haiku-4-5"]}', False),
        ("/v1/messages", b"{}", False),
        ("/v1/messages", b"model=gpt-4o-mini", False),
        ("/v1/models", b"", True),
        ("/v1/messages/batches", b'{"requests": [{"params": {"model": "gpt-4o"}}]}', False),
        (
            "/v1/messages/batches",
            b'{"requests": [{"params": {"model": "claude-x"}}, {"params": {"model": "o"}}]}',
            False,
        ),
        ("/v1/messages/batches", b'{"requests": [{"params": {"model": "claude-haiku-4-5"}}]}', True),
        ("/v1/messages/batches", b'{"items": [{"model": "gpt-4o"}]}', False),
        ("/v1/batches", b'{"input_file_id": "file_1", "endpoint": "/v1/responses"}', False),
        ("/v1/batches/batch_1/cancel", b"", True),
        ("/v1/files", b"purpose=batch", True),
        ("/v1/files/file_1/ask", b"{}", False),
        ("/v1/x", b'{"model": "gpt-4o-mini", "requests": {"requests": [{"request": {"model": "o"}}]}}', False),
        ("/v1beta/models/gpt-4o-mini:batchEmbedContents", b'{"requests": [{"model": "models/gpt-4o-mini"}]}', True),
        ("/v1/messages", b'{"model": "claude-x", "messages": [{"content": [{"input": {"model": "T"}}]}]}', True),
        ("/v1beta/models/gpt-4o-mini:generateContent", b"{}", True),
        ("/v1beta/models/gemini-pro:generateContent", b'{"model": "gpt-4o-mini"}', False),
        ("/model/gpt-4o-mini/converse", b'{"model": "gemini-pro"}', False),
    ],
)
def test_models_are_admitted(path, body, is_admitted):
    key_policy = KeyPolicy.from_json({"models": ["gpt-4o-mini", "claude-*"]})
    assert key_policy.admits_models(estimate(body, length=len(body), path=path)) is is_admitted
    assert FREE.admits_models(estimate(body, length=len(body), path=path))


def test_the_model_of_a_too_long_body_is_unknown():
    key_policy = KeyPolicy.from_json({"models": ["gpt-*"]})
    assert not key_policy.admits_models(estimate(b'{"model": "gpt-4o"}', length=1 << 21, path="/"))
    assert not key_policy.admits_models(Estimate(named=("",)))


def test_an_entry_from_an_older_key_service_restricts_nothing():
    assert KeyPolicy.from_json({"id": "x"}) is FREE


@pytest.mark.parametrize(
    ("peer", "forwarded", "trusted", "ip"),
    [
        ("198.51.100.1", "203.0.113.5", [], "198.51.100.1"),
        ("198.51.100.1", "203.0.113.5", ["10.0.0.0/8"], "198.51.100.1"),
        ("10.0.0.1", "203.0.113.5", ["10.0.0.0/8"], "203.0.113.5"),
        ("10.0.0.1", "192.0.2.66, 203.0.113.5", ["10.0.0.0/8"], "203.0.113.5"),  # the client made up the first one
        ("10.0.0.1", "203.0.113.5, 10.0.0.2", ["10.0.0.0/8"], "203.0.113.5"),
        ("10.0.0.1", "", ["10.0.0.0/8"], "10.0.0.1"),
        ("10.0.0.1", "203.0.113.5:4711", ["10.0.0.0/8"], "203.0.113.5"),
        ("10.0.0.1", "[2001:db8::1]:4711", ["10.0.0.0/8"], "2001:db8::1"),
        ("10.0.0.1", "2001:db8::1", ["10.0.0.0/8"], "2001:db8::1"),
        (None, "203.0.113.5", ["10.0.0.0/8"], None),
    ],
)
def test_the_client_is_the_last_address_that_is_no_trusted_proxy(peer, forwarded, trusted, ip):
    assert client_ip(peer, forwarded, parse_networks(trusted)) == ip
