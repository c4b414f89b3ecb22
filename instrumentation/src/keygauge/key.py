"""The format of keys: `kg_{live|test}_{id:12}_{secret:32}{crc:6}` in base62, with about 190 bits of secret."""

from __future__ import annotations

import hashlib
import re
import secrets
import zlib
from typing import Literal

Environment = Literal["live", "test"]

PREFIX = b"kg_"  # of every key
HEADERS = frozenset({b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key"})  # that may contain a key
_IMPORTED = b"keygauge: id of an imported key"
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID_LENGTH = 12
_SECRET_LENGTH = 32
_CRC_LENGTH = 6  # 62 ** 6 > 2 ** 32
_ID_START = len("kg_live_")
_ID_END = _ID_START + _ID_LENGTH
LENGTH = _ID_END + 1 + _SECRET_LENGTH + _CRC_LENGTH

_is_shaped = re.compile(r"kg_(?:live|test)_[0-9A-Za-z]{12}_[0-9A-Za-z]{38}", re.ASCII).fullmatch
_find_beginning = re.compile(r"kg_(?:live|test)_[0-9A-Za-z]{12}_", re.ASCII).search


def new_id() -> str:
    """Return a new random id: 12 base62 characters."""
    return _draw(_ID_LENGTH)


def generate(environment: Environment, key_id: str | None = None) -> str:
    """Return a new key, or with `key_id`, that key with a new secret."""
    if environment not in {"live", "test"}:
        raise ValueError(f"environment is {environment!r}: use 'live' or 'test'")
    body = f"kg_{environment}_{key_id or new_id()}_{_draw(_SECRET_LENGTH)}"
    return body + _checksum(body)


def parse(token: str) -> str | None:
    """Return the key's id, or None if the format or the checksum is wrong."""
    if len(token) != LENGTH or _is_shaped(token) is None:
        return None
    if _checksum(token[:-_CRC_LENGTH]) != token[-_CRC_LENGTH:]:
        return None
    return token[_ID_START:_ID_END]


def is_in(text: str) -> bool:
    """Return whether a text contains a key or the beginning of one."""
    return text.startswith(PREFIX.decode()) or _find_beginning(text) is not None


def imported_id(digest: bytes) -> str:
    """Return the id of a key issued by another system, derived from the digest because the key contains none."""
    return _base62(int.from_bytes(hashlib.sha256(_IMPORTED + digest).digest()), _ID_LENGTH)


def digest(token: str) -> bytes:
    """Return the SHA-256 of a key: the only form of it that is stored or leaves the process."""
    return hashlib.sha256(token.encode("ascii")).digest()


def _draw(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _checksum(text: str) -> str:
    return _base62(zlib.crc32(text.encode("ascii")), _CRC_LENGTH)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
