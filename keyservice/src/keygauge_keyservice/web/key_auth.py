"""The metered API key as a credential: its holder may query it, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import ip_address, ip_network

from flask import request

from keygauge import key as key_format
from keygauge.protocol import LookUp
from keygauge_keyservice.accounts import accounts
from keygauge_keyservice.database import Connection
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.keys import keys
from keygauge_keyservice.keys.keys import Key
from keygauge_keyservice.sync import key_entries
from keygauge_keyservice.web.context import services

_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="keygauge"'}


def require_key(connection: Connection) -> Key:
    """Return the key that the request carries, as `Authorization: Bearer` or `x-api-key`.

    Raises:
        Problem: 401 if no such key works; 403 if it may not be used from this address; 429 after too many unknown keys.
    """
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    token = given if scheme.lower() == "bearer" else request.headers.get("X-Api-Key", "")
    return require_shown(connection, _candidates(token), request.remote_addr)


def require_shown(connection: Connection, shown: list[LookUp], ip: str | None, *, service: str | None = None) -> Key:
    """Return the key that a caller at an address presented, to a service if that asks.

    Raises:
        Problem: like `require_key`.
    """
    guesses, digest = services().guesses, "".join(one.digest for one in shown)
    guesses.admit(ip, digest, service=service)
    found = key_entries.look_up(connection, shown, services().settings.peppers)
    key = keys.find(connection, found[0].key) if found else None
    if key is None:
        guesses.count(ip, digest, service=service)
        _refuse_replaced(connection, shown)
        raise Problem(401, "unauthorized", "The API key is missing or incorrect.", headers=_CHALLENGE)
    guesses.keep(digest)
    _check(connection, key)
    if not _is_allowed(ip, key):
        raise Problem(403, "ip_not_allowed", "This API key can't be used from this IP address.")
    return key


def _candidates(token: str) -> list[LookUp]:
    if not token or not token.isascii():
        return []
    digest = key_format.digest(token)
    return [LookUp(key_format.parse(token) or key_format.imported_id(digest), digest.hex())]


def _refuse_replaced(connection: Connection, shown: list[LookUp]) -> None:
    for replaced in key_entries.find_replaced(connection, shown, services().settings.peppers):
        ended = datetime.fromtimestamp(replaced.ended_at, UTC)
        detail = f"The API key was rotated, and this secret ended on {ended:%Y-%m-%d at %H:%M} UTC. Use the new one."
        raise Problem(401, "key_replaced", detail, headers=_CHALLENGE)


def _check(connection: Connection, key: Key) -> None:
    """Refuse a key that does not work; a caller with the right secret may know why."""
    if key.status == "deleted":
        raise Problem(401, "key_deleted", "The API key was deleted. Use another one.", headers=_CHALLENGE)
    if key.status != "active":
        detail = "The API key is disabled. Enable it in the portal, or use another one."
        raise Problem(401, "key_disabled", detail, headers=_CHALLENGE)
    if accounts.require(connection, key.account_id).status != "active":
        detail = "The account of this API key is suspended. Contact the provider of this API."
        raise Problem(401, "account_suspended", detail, headers=_CHALLENGE)
    if key.expires_at is not None and key.expires_at <= datetime.now(UTC):
        detail = "The API key has expired. Give it a later expiry date in the portal, or use another one."
        raise Problem(401, "key_expired", detail, headers=_CHALLENGE)


def _is_allowed(address: str | None, key: Key) -> bool:
    if not key.networks:
        return True
    try:
        ip = ip_address(address or "")
    except ValueError:
        return False
    ip = getattr(ip, "ipv4_mapped", None) or ip
    return any(ip in ip_network(network) for network in key.networks)
