"""Trailer fields after a request's body, which uvicorn with httptools adds to the headers.

A client may send fields there that its proxy sets in the headers, such as X-Forwarded-For, and proxies pass them on.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

_MODULE = "uvicorn.protocols.http.httptools_impl"


def drop() -> None:
    """Start keeping trailers out of the headers, if uvicorn's httptools protocol is imported; safe to repeat."""
    protocol = getattr(sys.modules.get(_MODULE), "HttpToolsProtocol", None)
    if protocol is not None and not hasattr(protocol.on_headers_complete, "keygauge"):
        protocol.on_headers_complete = _dropping(protocol.on_headers_complete)


class _Head(list[tuple[bytes, bytes]]):
    """A complete list of headers: a client may send trailers without end, which would fill the memory."""

    def append(self, _: object) -> None:
        """Discard the field."""


def _dropping(complete: Callable[[Any], None]) -> Callable[[Any], None]:
    @functools.wraps(complete)
    def dropping(self: Any) -> None:
        complete(self)
        self.headers = _Head(self.headers)  # later fields go here; the request keeps its own list

    dropping.keygauge = True  # type: ignore[attr-defined]  # how `drop` recognizes its wrapper
    return dropping
