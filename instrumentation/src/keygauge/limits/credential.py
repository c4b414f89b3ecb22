"""Search for the key in a request's headers; nothing here stores or shows it."""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum
from typing import Final

from keygauge.key import HEADERS, PREFIX


class Conflict(Enum):
    """Two different credentials in one request (RFC 6750, 3.1: an invalid request)."""

    CONFLICT = 1


CONFLICT: Final = Conflict.CONFLICT


def headers_for(name: str | None) -> frozenset[bytes]:
    """Return the names of the headers that may hold a key: the configured one, or the usual ones."""
    return HEADERS if name is None else frozenset({name.lower().encode()})


def find(headers: Collection[tuple[bytes, bytes]], names: frozenset[bytes] = HEADERS) -> bytes | Conflict | None:
    """Return the credential of a request, None if there is none, CONFLICT if it has several that differ.

    Header names are in lower case, as in ASGI. Next to one of our keys, credentials in other formats are the host's.
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
            return None  # other schemes, such as Basic, belong to the host
        given = given[7:].strip()
    return given or None
