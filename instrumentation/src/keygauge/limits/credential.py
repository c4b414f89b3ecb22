"""Find the key among a request's headers; nothing here keeps or shows it."""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum
from typing import Final

from keygauge.key import HEADERS, PREFIX


class Conflict(Enum):
    """Two different credentials came in one request (RFC 6750, 3.1: an invalid request)."""

    CONFLICT = 1


CONFLICT: Final = Conflict.CONFLICT


def headers_for(name: str | None) -> frozenset[bytes]:
    """Return the names of the headers that may hold a key: the one that is set, or the usual ones."""
    return HEADERS if name is None else frozenset({name.lower().encode()})


def find(headers: Collection[tuple[bytes, bytes]], names: frozenset[bytes] = HEADERS) -> bytes | Conflict | None:
    """Return the credential of a request, None when there is none, CONFLICT when two of our keys differ.

    Header names are lower case, as ASGI has them. Beside one of our keys, what has not their format is the host's own.
    """
    holder = None
    for header in headers:
        if header[0] in names:
            if holder is not None:
                return _find_own(headers, names)
            holder = header
    if holder is None:
        return None
    name, value = holder
    if name == b"authorization" and value.startswith(b"Bearer "):
        return value[7:].strip() or None
    return _read(name, value)


def _find_own(headers: Collection[tuple[bytes, bytes]], names: frozenset[bytes]) -> bytes | Conflict | None:
    """Return the credential of a request with several."""
    tokens = {_read(name, value): None for name, value in headers if name in names}
    found = [token for token in tokens if token is not None]
    if len(found) <= 1:
        return found[0] if found else None
    own = [token for token in found if token.startswith(PREFIX)]
    return CONFLICT if len(own) != 1 else own[0]


def _read(name: bytes, value: bytes) -> bytes | None:
    given = value.strip()
    if name == b"authorization":
        if given[:7].lower() != b"bearer ":
            return None  # Basic and the like belong to the host
        given = given[7:].strip()
    return given or None
