"""Addresses and the networks that they are in."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network

IPV6_HOST = 64  # a network of one customer: its 2^64 addresses count as one
IPV6_SITE = 48  # the largest that a provider gives to one customer without being asked why


def parse_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Read addresses and networks such as 192.0.2.0/24; what is none of them lets nobody through."""
    networks = []
    for text in texts:
        try:
            networks.append(ip_network(text, strict=False))
        except ValueError:
            continue
    return tuple(networks)


def is_within(ip: str | None, networks: Iterable[Network]) -> bool:
    """Return whether an address is in one of some networks; an IPv4 address written as IPv6 counts as IPv4."""
    address = _parse(ip)
    return address is not None and any(address in network for network in networks)


def holder(ip: str | None, *, ipv6_prefix: int = IPV6_HOST) -> str:
    """Name whom an address belongs to; what is no address belongs to one who hides it."""
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
