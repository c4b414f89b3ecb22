"""The visitor that a request belongs to: a session, a token, or an address."""

from __future__ import annotations

import hashlib

from keygauge import networks
from keygauge_keyservice.serving.asgi import Scope


def visitor(scope: Scope, proxies: int) -> bytes:
    """Return an identifier of the session or token that a request claims, or else of its address."""
    headers = scope["headers"]
    secret = _session(scope) or b",".join(value for name, value in headers if name == b"authorization")
    return hashlib.sha256(secret or address(scope, proxies).encode()).digest()


def address(scope: Scope, proxies: int) -> str:
    """Return an identifier of the holder of the client's address, which is determined as in werkzeug's ProxyFix."""
    addresses = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for").split(b",")
    if 0 < proxies <= len(addresses):
        return networks.holder(addresses[-proxies].strip().decode("latin-1"))
    return networks.holder(scope["client"][0] if scope["client"] else None)


def _session(scope: Scope) -> bytes:
    cookies = (cookie for name, value in scope["headers"] if name == b"cookie" for cookie in value.split(b";"))
    return next((cookie.strip() for cookie in cookies if b"keygauge_session=" in cookie), b"")
