"""IP addresses and networks."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network

IPV6_HOST = 64  # prefix length of one customer's network: its 2^64 addresses count as one
IPV6_SITE = 48  # prefix length of the largest network that providers routinely give to one customer


def parse_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Parse addresses and networks such as 192.0.2.0/24; skip invalid ones."""
    networks = []
    for text in texts:
        try:
            networks.append(ip_network(text, strict=False))
        except ValueError:
            continue
    return tuple(networks)


def is_within(ip: str | None, networks: Iterable[Network]) -> bool:
    """Return whether an address is in one of the networks; an IPv4-mapped IPv6 address counts as IPv4."""
    address = _parse(ip)
    return address is not None and any(address in network for network in networks)


def holder(ip: str | None, *, ipv6_prefix: int = IPV6_HOST) -> str:
    """Return an identifier of the address's owner: the IPv4 address or the IPv6 network; "" for invalid addresses."""
    address = _parse(ip)
    if isinstance(address, IPv6Address):
        return str(int(address) >> (128 - ipv6_prefix))
    return "" if address is None else str(address)


def _parse(ip: str | None) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address((ip or "").partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
