"""The portal's stylesheet and scripts, each at a URL that changes with its content."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pygaljs
from flask import Blueprint, Response, abort, url_for

blueprint = Blueprint("assets", __name__)

_MAX_AGE_S = 365 * 86400
_STATIC = Path(__file__).parent / "static"
_FILES = {
    "portal.css": (_STATIC / "portal.css", "text/css"),
    "charts.js": (_STATIC / "charts.js", "text/javascript"),
    "menus.js": (_STATIC / "menus.js", "text/javascript"),
    "select.js": (_STATIC / "select.js", "text/javascript"),
    "nav.js": (_STATIC / "nav.js", "text/javascript"),
    "live.js": (_STATIC / "live.js", "text/javascript"),
    "toolbar.js": (_STATIC / "toolbar.js", "text/javascript"),
    "print.js": (_STATIC / "print.js", "text/javascript"),
    "choices.js": (_STATIC / "choices.js", "text/javascript"),
    "zone.js": (_STATIC / "zone.js", "text/javascript"),
    "copy.js": (_STATIC / "copy.js", "text/javascript"),
    "icon.svg": (_STATIC / "icon.svg", "image/svg+xml"),
    "tooltips.js": (Path(pygaljs.path("2.0.x", "pygal-tooltips.min.js")), "text/javascript"),
}


@dataclass(frozen=True)
class _Asset:
    body: bytes
    content_type: str
    version: str


@blueprint.get("/assets/<version>/<name>")
def read(version: str, name: str) -> Response:
    """Return a file; it may be cached for a year if the URL has its current version."""
    if name not in _FILES:
        abort(404)
    asset = _load(name)
    response = Response(asset.body, content_type=f"{asset.content_type}; charset=utf-8")
    is_current = version == asset.version
    response.headers["Cache-Control"] = f"public, max-age={_MAX_AGE_S}, immutable" if is_current else "no-cache"
    return response


def address(name: str) -> str:
    """Return a file's URL."""
    return url_for("portal.assets.read", version=_load(name).version, name=name)


@cache
def _load(name: str) -> _Asset:
    file, content_type = _FILES[name]
    body = file.read_bytes()
    return _Asset(body, content_type, hashlib.sha256(body).hexdigest()[:12])
