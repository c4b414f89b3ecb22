"""The security headers of the portal's responses."""

from __future__ import annotations

from flask import Blueprint, Response

from keygauge_keyservice.portal import cookies

_POLICY = "; ".join(
    (
        *("default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data:", "connect-src 'self'"),
        *("form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"),
    )
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
    "Referrer-Policy": "same-origin",  # not no-referrer: auth.py checks the Origin of forms
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def install(portal: Blueprint) -> None:
    """Add the headers to every response of the portal."""
    portal.after_request(add)


def add(response: Response) -> Response:
    """Add the headers to a response."""
    response.headers.update(_HEADERS)
    response.headers.setdefault("Cache-Control", "no-store")  # the back button on a shared computer shows nothing
    if cookies.is_encrypted():
        response.headers["Strict-Transport-Security"] = "max-age=31536000"
    return response
