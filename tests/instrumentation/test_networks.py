from ipaddress import IPv4Address, IPv6Address

from hypothesis import given
from hypothesis import strategies as st

from keygauge.networks import IPV6_SITE, holder, is_within, parse_networks

OWN = parse_networks(["192.0.2.0/24", "2001:db8::/32"])


def test_invalid_networks_are_skipped():
    assert parse_networks(["nonsense", "192.0.2.0/33", "", "10.0.0.1/8", "::1"]) == parse_networks(
        ["10.0.0.0/8", "::1"]
    )


def test_address_is_within_a_network_in_any_notation():
    for ip in ("192.0.2.7", "::ffff:192.0.2.7", "2001:db8::1", "2001:DB8:0::1", "2001:db8::1%eth0"):
        assert is_within(ip, OWN)
    for ip in ("192.0.3.7", "::ffff:192.0.3.7", "2001:db9::1", "192.0.2", "192.0.2.7, 10.0.0.1", "unix:", "", None):
        assert not is_within(ip, OWN)


@given(st.integers(0, 2**32 - 1))
def test_holder_of_an_ipv4_address_is_the_address_in_both_notations(number):
    ip = str(IPv4Address(number))
    assert holder(ip) == holder(f"::ffff:{ip}") == ip


@given(st.integers(0, 2**128 - 1), st.integers(0, 2**64 - 1))
def test_addresses_of_a_customers_network_have_one_holder(number, host):
    one, other = IPv6Address(number), IPv6Address(number >> 64 << 64 | host)
    if one.ipv4_mapped is None and other.ipv4_mapped is None:
        assert holder(str(one)) == holder(str(other))


def test_networks_of_two_customers_have_two_holders_and_a_site_has_one():
    assert holder("2001:db8:0:1::1") != holder("2001:db8:0:2::1")
    assert holder("2001:db8:0:1::1", ipv6_prefix=IPV6_SITE) == holder("2001:db8:0:2::1", ipv6_prefix=IPV6_SITE)


def test_holder_of_an_invalid_address_is_empty():
    assert holder(None) == holder("") == holder("unix:") == holder("1.2.3") == ""
