import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from keygauge.networks import parse_networks
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.keys.key_terms import MODELS_MAX, KeyTerms, NewKey, normalise_network
from keygauge_keyservice.reading import read

IPS = st.ip_addresses().map(str)


@given(IPS)
def test_stored_networks_can_be_parsed_by_replicas(ip):
    try:
        stored = normalise_network(ip)
    except ValueError:
        return
    assert normalise_network(stored) == stored
    assert [str(network) for network in parse_networks([stored])] == [stored]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10.0.0.1/8",
        "192.0.2.0/33",
        "::ffff:192.0.2.1",
        "::ffff:0:0/97",
        "fe80::1%eth0",
        "example.com",
        "1.2.3",
        "1",
    ],
)
def test_invalid_networks_are_rejected(text):
    with pytest.raises(ValueError):  # noqa: PT011 - the messages are ipaddress's
        normalise_network(text)


@pytest.mark.parametrize(
    ("field", "right", "wrong"),
    [
        ("scopes", ["chat:write", "a"], ["", "A", "a b", "a" * 61, "a\n"]),
        ("routes", ["/", "/v1/files*", "/v1/{id}"], ["", "v1", "/v*1", "/a b", "/" + "a" * 201, "/a\n"]),
        ("models", ["gpt-4o", "claude-*", "anthropic.claude-3:0"], ["", "*", "a b", "a" * 101, "é", "a*b"]),
        ("networks", ["192.0.2.0/24", " 2001:db8::/32 "], ["x", "10.0.0.1/8"]),
    ],
)
def test_restrictions_are_validated_item_by_item(field, right, wrong):
    assert len(getattr(read(KeyTerms, {field: right}), field)) == len(right)
    for item in wrong:
        with pytest.raises(Problem) as caught:
            read(KeyTerms, {field: [right[0], item]})
        assert [error.field for error in caught.value.errors] == [f"{field}[1]"]


def test_missing_fields_differ_from_cleared_fields():
    terms = read(KeyTerms, {"expires_at": None, "routes": []})
    assert (terms.expires_at, terms.routes, terms.models, terms.name) == (None, [], UNSET, UNSET)


def test_lists_are_limited_in_length():
    models = [f"m{number}" for number in range(MODELS_MAX + 1)]
    read(KeyTerms, {"models": models[:-1]})
    with pytest.raises(Problem):
        read(KeyTerms, {"models": models})


def test_a_new_key_needs_a_name():
    assert read(NewKey, {"name": "prod"}).environment == "live"
    with pytest.raises(Problem):
        read(NewKey, {"environment": "test"})
