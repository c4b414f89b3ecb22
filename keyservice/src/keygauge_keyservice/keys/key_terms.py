"""Read a key's terms from a request body or a form, and refuse those that make no sense."""

from __future__ import annotations

import re
from ipaddress import IPv6Network, ip_network
from typing import Any

from keygauge_keyservice.fields import Fields

ROUTES_MAX, NETWORKS_MAX, SCOPES_MAX, MODELS_MAX = 50, 100, 50, 50  # replicas look at each on every request
ROTATE_EVERY_DAYS_MAX = 3650
APP_LENGTH_MAX = 200
_MAPPED = IPv6Network("::ffff:0:0/96")  # IPv4 addresses, written as IPv6

_is_route = re.compile(r"/[^\s*\x00-\x1f\x7f]{0,199}\*?", re.ASCII).fullmatch
_is_model = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/@+-]{0,99}\*?", re.ASCII).fullmatch
_is_scope = re.compile(r"[a-z0-9][a-z0-9_.:-]{0,59}", re.ASCII).fullmatch


def read_terms(given: Fields, *, is_new: bool) -> dict[str, Any]:
    """Read those terms that are given, of a new key all; errors are left in `given`."""
    readers = {
        "name": given.name,
        "app": lambda field: given.text(field, length_max=APP_LENGTH_MAX) or None,
        "expires_at": given.time,
        "scopes": _scopes(given),
        "routes": _routes(given),
        "networks": _networks(given),
        "models": _models(given),
        "rotate_every_days": lambda field: given.integer(field, least=1, most=ROTATE_EVERY_DAYS_MAX, nullable=True),
    }
    return {name: read(name) for name, read in readers.items() if name in given or (is_new and name == "name")}


def normalise_network(text: str) -> str:
    """Write an address or a network the one way it is stored: 192.0.2.1/32, 2001:db8::/32.

    Raises:
        ValueError: it is neither, bits are set beyond the prefix, or it is of a kind that no client's address is in.
    """
    network = ip_network(text.strip())
    if isinstance(network, IPv6Network) and (network.subnet_of(_MAPPED) or network.network_address.scope_id):
        raise ValueError("give IPv4 as such, and no zone: clients' addresses are compared so")
    return str(network)


def _scopes(given: Fields) -> Any:
    hint = "a word of the characters a-z, 0-9 and _ . : -"
    return lambda field: given.texts(field, _matched(_is_scope), most=SCOPES_MAX, hint=hint)


def _routes(given: Fields) -> Any:
    hint = "a route such as /v1/chat/completions, or a prefix such as /v1/files*"
    return lambda field: given.texts(field, _matched(_is_route), most=ROUTES_MAX, hint=hint)


def _models(given: Fields) -> Any:
    hint = "a model such as gpt-4o-mini, or a prefix such as claude-*"
    return lambda field: given.texts(field, _matched(_is_model), most=MODELS_MAX, hint=hint)


def _networks(given: Fields) -> Any:
    hint = "an IP address or network such as 192.0.2.0/24 or 2001:db8::/32"
    return lambda field: given.texts(field, normalise_network, most=NETWORKS_MAX, hint=hint)


def _matched(matches: Any) -> Any:
    def take(text: str) -> str:
        if not matches(text):
            raise ValueError(text)
        return text

    return take
