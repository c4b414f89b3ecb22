"""The portal's cookies: bound to this host over https, and signed if they contain data."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import asdict, dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from flask import request, url_for
from itsdangerous import BadData, URLSafeTimedSerializer
from werkzeug.wrappers import Response

from keygauge_keyservice.web.context import services

_DEVICE = "keygauge_device"
_DEVICE_S = 365 * 86_400
_DEVICE_MEMBERS_MAX = 20
_PURPOSE = hashlib.sha256(b"keygauge: signed cookies").digest()


def give(response: Response, name: str, value: str, *, max_age_s: int) -> None:
    """Set a cookie that scripts cannot read; over https it is bound to this host (RFC 6265bis, 4.1.3.2)."""
    response.set_cookie(
        _full(name), value, max_age=max_age_s, httponly=True, samesite="Lax", secure=is_encrypted(), path="/"
    )


def read(name: str) -> str:
    """Return a cookie's value, or an empty string."""
    return request.cookies.get(_full(name), "")


def take(response: Response, name: str) -> None:
    """Delete a cookie."""
    response.delete_cookie(_full(name), httponly=True, samesite="Lax", secure=is_encrypted(), path="/")


def signer(purpose: str) -> URLSafeTimedSerializer:
    """Return a signer for one purpose; its key is derived from the newest pepper, so all processes share it."""
    peppers = services().settings.peppers
    key = peppers.hash(_PURPOSE, peppers.newest)
    return URLSafeTimedSerializer(key, salt=purpose, signer_kwargs={"digest_method": hashlib.sha256})


@dataclass(frozen=True)
class Device:
    """A browser, and the ids of the members who signed in with it, the latest first."""

    id: str
    members: list[int]


def known_device() -> Device:
    """Return this browser; if it is new, no member has signed in with it."""
    try:
        kept: Any = signer("members of a device").loads(read(_DEVICE), max_age=_DEVICE_S)
    except BadData:
        return Device(secrets.token_hex(16), [])
    return Device(**kept)


def remember_device(response: Response, member_id: int) -> None:
    """Remember that a member has signed in with this browser."""
    device = known_device()
    latest = [member_id, *(one for one in device.members if one != member_id)]
    kept = asdict(replace(device, members=latest[:_DEVICE_MEMBERS_MAX]))
    give(response, _DEVICE, signer("members of a device").dumps(kept), max_age_s=_DEVICE_S)


def is_encrypted() -> bool:
    """Return whether browsers use https, according to the public URL if set."""
    public = services().settings.public_url
    return urlsplit(public).scheme == "https" if public else request.is_secure


def public_host() -> str:
    """Return host and port as browsers see them."""
    public = services().settings.public_url
    return urlsplit(public).netloc if public else request.host


def public_link(endpoint: str, **values: Any) -> str:
    """Return a page's absolute URL for use elsewhere, with the configured public URL instead of the request's host."""
    public = services().settings.public_url
    return public.rstrip("/") + url_for(endpoint, **values) if public else url_for(endpoint, _external=True, **values)


def _full(name: str) -> str:
    return f"__Host-{name}" if is_encrypted() else name
