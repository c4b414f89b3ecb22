"""Compression and ETags of responses."""

from __future__ import annotations

import gzip

from flask import Flask, Response, request

_BYTES_MIN = 1024  # shorter bodies fit into one packet anyway
_TYPES = ("text/", "application/json", "application/problem+json", "image/svg+xml")


def install(app: Flask) -> None:
    """Add ETags to the API's lists, and compress every response that is worth it."""
    app.after_request(_compress)
    app.after_request(_tag)  # runs first


def _tag(response: Response) -> Response:
    """Add an ETag, so that clients that poll can use If-None-Match."""
    is_list = request.path.startswith("/v1/") and request.method == "GET" and response.is_json
    if is_list and response.status_code == 200:  # noqa: PLR2004 - HTTP
        response.add_etag(weak=True)
        response.headers.setdefault("Cache-Control", "no-cache, private")
        return response.make_conditional(request)  # type: ignore[return-value]  # the same response
    return response


def _compress(response: Response) -> Response:
    """Compress with gzip; the pages' CSRF tokens are masked, so the length reveals nothing (BREACH)."""
    if (
        response.is_streamed
        or response.direct_passthrough
        or response.content_encoding
        or not (response.content_type or "").startswith(_TYPES)
    ):
        return response
    response.vary.add("Accept-Encoding")
    if not request.accept_encodings.quality("gzip") or len(response.get_data()) < _BYTES_MIN:
        return response
    response.set_data(gzip.compress(response.get_data(), compresslevel=5, mtime=0))
    response.content_encoding = "gzip"
    etag, _ = response.get_etag()
    if etag:
        response.set_etag(etag, weak=True)
    return response
