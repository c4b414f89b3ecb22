"""Hashes of keys' secrets with versioned peppers, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

_PEPPER_BYTES = 32
_PEPPER_BYTES_MIN = 16
_FINGERPRINT = hashlib.sha256(b"keygauge: fingerprint of a pepper").digest()


class PepperError(ValueError):
    """The peppers are not in the form `1:<hex>,2:<hex>`, or a version is missing."""


@dataclass(frozen=True)
class Peppers:
    """The service's own secrets, by version; new hashes use the newest, and old ones stay verifiable."""

    by_version: Mapping[int, bytes] = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Peppers:
        """Parse `1:<hex>,2:<hex>`.

        Raises:
            PepperError: a version is not a positive integer or appears twice, or a pepper is shorter than 16 bytes.
        """
        by_version: dict[int, bytes] = {}
        for part in text.split(","):
            version, _, value = part.strip().partition(":")
            try:
                number, pepper = int(version), bytes.fromhex(value)
            except ValueError:
                raise PepperError("the pepper is not written as 1:<hex>,2:<hex>") from None
            if number < 1 or number in by_version or len(pepper) < _PEPPER_BYTES_MIN:
                raise PepperError(
                    f"pepper {number}: versions are 1 or more and differ, each has {_PEPPER_BYTES_MIN} bytes or more"
                )
            by_version[number] = pepper
        return cls(by_version)

    @property
    def newest(self) -> int:
        """Return the version that new hashes use."""
        return max(self.by_version)

    def hash(self, digest: bytes, version: int) -> bytes:
        """Return HMAC-SHA256(pepper, digest).

        Raises:
            PepperError: that version is not configured.
        """
        pepper = self.by_version.get(version)
        if pepper is None:
            raise PepperError(f"pepper {version} is missing: KEYGAUGE_PEPPER must have every version still in use")
        return hmac.digest(pepper, digest, hashlib.sha256)

    def fingerprint(self, version: int) -> bytes:
        """Return a pepper's fingerprint, which reveals nothing about it."""
        return self.hash(_FINGERPRINT, version)

    def matches(self, digest: bytes, *, version: int, expected: bytes) -> bool:
        """Return in constant time whether a digest matches a stored hash."""
        return hmac.compare_digest(self.hash(digest, version), expected)


def generate_pepper() -> str:
    """Generate a first pepper, in the format of `Peppers.parse`."""
    return f"1:{secrets.token_hex(_PEPPER_BYTES)}"
