"""Find the key among a request's headers; nothing here keeps or shows it."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Final


class Conflict(Enum):
    """Two different credentials came in one request (RFC 6750, 3.1: an invalid request)."""

    CONFLICT = 1


CONFLICT: Final = Conflict.CONFLICT

_HEADERS = frozenset({b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key"})


def find(headers: Iterable[tuple[bytes, bytes]]) -> bytes | Conflict | None:
    """Return the one credential of the request, CONFLICT when two differ, None when there is none.

    Header names are lower case, as ASGI has them. The same credential in two headers is one credential.
    """
    token: bytes | None = None
    for name, value in headers:
        if name not in _HEADERS:
            continue
        given = value.strip()
        if name == b"authorization":
            if given[:7].lower() != b"bearer ":
                continue  # Basic and the like belong to the host
            given = given[7:].strip()
        if not given:
            continue
        if token is not None and token != given:
            return CONFLICT
        token = given
    return token
