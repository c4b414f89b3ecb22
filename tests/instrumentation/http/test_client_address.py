from hypothesis import given
from hypothesis import strategies as st

from keygauge.http.client_address import client_ip
from keygauge.networks import parse_networks

TRUSTED = parse_networks(["10.0.0.0/8", "2001:db8::/32"])
IPS = st.ip_addresses(v=4, network="192.0.2.0/24").map(str)


@given(IPS, st.text())
def test_a_peer_that_is_no_proxy_is_the_client_whatever_it_claims(peer, claim):
    assert client_ip(peer, claim, TRUSTED) == client_ip(peer, claim, ()) == peer


@given(IPS, st.lists(IPS, max_size=3), st.integers(0, 3))
def test_the_last_address_that_no_proxy_has_is_the_client(client, invented, proxies):
    chain = ", ".join([*invented, client, *["10.0.0.9"] * proxies])
    assert client_ip("10.0.0.1", chain, TRUSTED) == client


def test_without_a_word_the_proxy_itself_called():
    for nothing in ("", " , ,", "10.0.0.2, 10.0.0.3"):
        assert client_ip("10.0.0.1", nothing, TRUSTED) in {"10.0.0.1", "10.0.0.2"}
    assert client_ip(None, "192.0.2.1", TRUSTED) is None


def test_ports_that_proxies_add_are_dropped():
    told = {"192.0.2.1:4711": "192.0.2.1", "[2001:db9::1]:4711": "2001:db9::1", "2001:db9::1": "2001:db9::1", "[x": "x"}
    assert {named: client_ip("10.0.0.1", named, TRUSTED) for named in told} == told


def test_a_proxy_that_is_named_with_its_port_or_as_ipv6_is_known():
    assert client_ip("::ffff:10.0.0.1", "192.0.2.1, [2001:db8::1]:80, 10.0.0.9:1", TRUSTED) == "192.0.2.1"
