"""Whose a request is: a session's, a token's, or that of an address."""

from __future__ import annotations

import hashlib

from keygauge import networks
from keygauge_keyservice.serving.asgi import Scope


def visitor(scope: Scope, proxies: int) -> bytes:
    """Name the session or the token that a request claims, and without either the address."""
    headers = scope["headers"]
    secret = _session(scope) or b",".join(value for name, value in headers if name == b"authorization")
    return hashlib.sha256(secret or address(scope, proxies).encode()).digest()


def address(scope: Scope, proxies: int) -> str:
    """Name who holds the client's address, which is found as werkzeug's ProxyFix finds it."""
    addresses = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for").split(b",")
    if 0 < proxies <= len(addresses):
        return networks.holder(addresses[-proxies].strip().decode("latin-1"))
    return networks.holder(scope["client"][0] if scope["client"] else None)


def _session(scope: Scope) -> bytes:
    cookies = (cookie for name, value in scope["headers"] if name == b"cookie" for cookie in value.split(b";"))
    return next((cookie.strip() for cookie in cookies if b"keygauge_session=" in cookie), b"")
