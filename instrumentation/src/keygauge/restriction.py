"""What a key may be used for: from which networks, and for which endpoints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

Network = IPv4Network | IPv6Network

_ANY = "*"  # at the end of a route: all that begin so


@dataclass(frozen=True, slots=True)
class Restriction:
    """None is "no restriction"; an empty one lets nothing through."""

    networks: tuple[Network, ...] | None = None
    routes: frozenset[str] | None = None
    route_prefixes: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Restriction:
        """Read the restriction of a key entry; an older key service sends none."""
        networks, routes = entry.get("networks") or None, entry.get("routes") or None
        if networks is None and routes is None:
            return FREE
        return cls(
            networks=None if networks is None else parse_networks(networks),
            routes=None if routes is None else frozenset(route for route in routes if not route.endswith(_ANY)),
            route_prefixes=tuple(route[:-1] for route in routes or () if route.endswith(_ANY)),
        )

    def admits_ip(self, ip: str | None) -> bool:
        """Tell whether the key may be used from an address; one that cannot be read is none."""
        return self.networks is None or is_within(ip, self.networks)

    def admits_route(self, route: str) -> bool:
        """Tell whether the key may be used for a route template."""
        return self.routes is None or route in self.routes or route.startswith(self.route_prefixes)


FREE = Restriction()


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
