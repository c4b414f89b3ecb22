"""The terms of a key accepted in requests and forms."""

from __future__ import annotations

import re
from ipaddress import IPv6Network, ip_network
from typing import Annotated, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType

from keygauge.key import Environment
from keygauge_keyservice.keys.rotation import GRACE_S_MAX
from keygauge_keyservice.texts import mark
from keygauge_keyservice.values.field_types import Name, Slug, Time, checked, matching

ROUTES_MAX, NETWORKS_MAX, SCOPES_MAX, MODELS_MAX = 50, 100, 50, 50  # replicas check each on every request
ROTATE_EVERY_DAYS_MAX = 3650
APP_LENGTH_MAX = 200
_MAPPED = IPv6Network("::ffff:0:0/96")  # IPv4 addresses, written as IPv6

_is_route = re.compile(r"/[^\s*\x00-\x1f\x7f]{0,199}\*?", re.ASCII).fullmatch
_is_model = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/@+-]{0,99}\*?", re.ASCII).fullmatch
_is_tool = re.compile(r"[A-Za-z0-9_.:/@+-]{1,128}\*?", re.ASCII).fullmatch
_is_scope = re.compile(r"[a-z0-9][a-z0-9_.:-]{0,59}", re.ASCII).fullmatch


def normalise_network(text: str) -> str:
    """Return an address or network in the form in which it is stored: 192.0.2.1/32, 2001:db8::/32.

    Raises:
        ValueError: it is neither, has host bits set, is an IPv4-mapped network, or has a zone.
    """
    network = ip_network(text.strip())
    if isinstance(network, IPv6Network) and (network.subnet_of(_MAPPED) or network.network_address.scope_id):
        raise ValueError("must be plain IPv4 or IPv6 without a zone")
    return str(network)


Scope: TypeAlias = Annotated[
    str,
    Meta(extra=checked(matching(_is_scope), "wrong_text", mark("must contain only a-z, 0-9 and _ . : -"))),
]
Route: TypeAlias = Annotated[
    str,
    Meta(
        extra=checked(
            matching(_is_route),
            "wrong_text",
            mark("must be a route such as /v1/chat/completions, or a prefix such as /v1/files*"),
        )
    ),
]
Model: TypeAlias = Annotated[
    str,
    Meta(
        extra=checked(
            matching(_is_model), "wrong_text", mark("must be a model such as gpt-4o-mini, or a prefix such as claude-*")
        )
    ),
]
Tool: TypeAlias = Annotated[
    str,
    Meta(
        extra=checked(
            matching(_is_tool), "wrong_text", mark("must be a tool such as search, or a prefix such as files_*")
        )
    ),
]
Network: TypeAlias = Annotated[
    str,
    Meta(
        extra=checked(
            normalise_network,
            "wrong_text",
            mark("must be an IP address or network such as 192.0.2.0/24 or 2001:db8::/32"),
        )
    ),
]


App: TypeAlias = Annotated[
    str,
    Meta(
        max_length=APP_LENGTH_MAX,
        extra=checked(
            lambda text: text or None,
            "wrong_text",
            mark("must have at most %(most)s printable characters"),
            most=APP_LENGTH_MAX,
        ),
    ),
]


class KeyTerms(Struct):
    """The terms of a key: its restrictions and metadata. Fields that are not given stay unchanged."""

    name: Name | UnsetType = UNSET
    app: App | UnsetType | None = UNSET
    expires_at: Time | UnsetType | None = UNSET
    scopes: Annotated[list[Scope], Meta(max_length=SCOPES_MAX)] | UnsetType = UNSET
    routes: Annotated[list[Route], Meta(max_length=ROUTES_MAX)] | UnsetType = UNSET
    networks: Annotated[list[Network], Meta(max_length=NETWORKS_MAX)] | UnsetType = UNSET
    models: Annotated[list[Model], Meta(max_length=MODELS_MAX)] | UnsetType = UNSET
    tools: Annotated[list[Tool], Meta(max_length=MODELS_MAX)] | UnsetType = UNSET
    rotate_every_days: Annotated[int, Meta(ge=1, le=ROTATE_EVERY_DAYS_MAX)] | UnsetType | None = UNSET


class NewKey(KeyTerms, kw_only=True):
    """A key to create."""

    name: Name
    environment: Environment = "live"


class Rotation(Struct):
    """A rotation's id, and how long the old secrets stay valid, in seconds."""

    rotation_id: Slug
    grace_s: Annotated[int, Meta(ge=0, le=GRACE_S_MAX)] = 0
