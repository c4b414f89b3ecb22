"""Fields behind a request's body, which uvicorn with httptools puts among those of its head.

A client may send there what its proxy writes into the head, such as X-Forwarded-For, and proxies pass it on.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

_MODULE = "uvicorn.protocols.http.httptools_impl"


def drop() -> None:
    """Keep them out of the head from now on, if this protocol of uvicorn is imported; safe to repeat."""
    protocol = getattr(sys.modules.get(_MODULE), "HttpToolsProtocol", None)
    if protocol is not None and not hasattr(protocol.on_headers_complete, "keygauge"):
        protocol.on_headers_complete = _dropping(protocol.on_headers_complete)


class _Head(list[tuple[bytes, bytes]]):
    """Fields that are complete: without end a client may send more, which would fill the memory."""

    def append(self, _: object) -> None:
        """Take no more."""


def _dropping(complete: Callable[[Any], None]) -> Callable[[Any], None]:
    @functools.wraps(complete)
    def dropping(self: Any) -> None:
        complete(self)
        self.headers = _Head(self.headers)  # what is added to from now on; the request keeps its own

    dropping.keygauge = True  # type: ignore[attr-defined]  # how `drop` knows its own
    return dropping
