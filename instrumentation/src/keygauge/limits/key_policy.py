"""The networks, endpoints, models and tools that a key may be used with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from keygauge.limits.reading.estimate import Estimate
from keygauge.networks import Network, is_within, parse_networks

_ANY = "*"  # at the end of a pattern: prefix match


@dataclass(frozen=True, slots=True)
class KeyPolicy:
    """A key's restrictions. None means no restriction; an empty set allows nothing."""

    networks: tuple[Network, ...] | None = None
    routes: frozenset[str] | None = None
    route_prefixes: tuple[str, ...] = ()
    models: frozenset[str] | None = None
    model_prefixes: tuple[str, ...] = ()
    tools: frozenset[str] | None = None
    tool_prefixes: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> KeyPolicy:
        """Parse the restrictions of a key entry; older key services send none."""
        names = ("networks", "routes", "models", "tools")
        networks, routes, models, tools = given = tuple(entry.get(name) or None for name in names)
        if not any(given):
            return FREE
        return cls(
            networks=None if networks is None else parse_networks(networks),
            routes=_exact(routes),
            route_prefixes=_prefixes(routes),
            models=_exact(models),
            model_prefixes=_prefixes(models),
            tools=_exact(tools),
            tool_prefixes=_prefixes(tools),
        )

    def admits_ip(self, ip: str | None) -> bool:
        """Return whether the key may be used from an address; False for an invalid address if networks are set."""
        return self.networks is None or is_within(ip, self.networks)

    def admits_route(self, route: str | None) -> bool:
        """Return whether the key may be used for a route template; False for an unknown route if routes are set."""
        if self.routes is None or route is None:
            return self.routes is None
        return route in self.routes or route.startswith(self.route_prefixes)

    def admits_models(self, estimate: Estimate) -> bool:
        """Return whether the key may be used for the models that a call names; a call with a body must name one."""
        models = self.models
        if models is None:
            return True
        if not estimate.named:
            return not estimate.asks
        return all(name in models or name.startswith(self.model_prefixes) for name in estimate.named)

    def admits_tools(self, tools: Sequence[str]) -> bool:
        """Return whether the key may be used for the tools that a call names."""
        return self.tools is None or all(name in self.tools or name.startswith(self.tool_prefixes) for name in tools)


FREE = KeyPolicy()


def _exact(patterns: Sequence[str] | None) -> frozenset[str] | None:
    return None if patterns is None else frozenset(text for text in patterns if not text.endswith(_ANY))


def _prefixes(patterns: Sequence[str] | None) -> tuple[str, ...]:
    return tuple(text[:-1] for text in patterns or () if text.endswith(_ANY))
