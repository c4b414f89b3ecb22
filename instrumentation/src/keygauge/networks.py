"""Addresses and the networks that they are in."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network


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
    """Tell whether an address is in one of some networks; an IPv4 address written as IPv6 counts as IPv4."""
    try:
        address = ip_address((ip or "").partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in network for network in networks)
