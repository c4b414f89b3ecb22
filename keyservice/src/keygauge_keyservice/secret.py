"""Hash a key's secret with a versioned pepper, and compare hashes in constant time."""

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
    """The peppers are not written as `1:<hex>,2:<hex>`, or one of them is not there."""


@dataclass(frozen=True)
class Peppers:
    """The service's own secrets, by version; new hashes use the newest, old ones stay verifiable."""

    by_version: Mapping[int, bytes] = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Peppers:
        """Read `1:<hex>,2:<hex>`.

        Raises:
            PepperError: a version is no positive number or twice there, or a pepper is shorter than 16 bytes.
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
            PepperError: the service was started without that version.
        """
        pepper = self.by_version.get(version)
        if pepper is None:
            raise PepperError(f"pepper {version} is missing: KEYGAUGE_PEPPER must have every version still in use")
        return hmac.digest(pepper, digest, hashlib.sha256)

    def fingerprint(self, version: int) -> bytes:
        """Return what one pepper is known by; it tells nothing of it."""
        return self.hash(_FINGERPRINT, version)

    def matches(self, digest: bytes, *, version: int, expected: bytes) -> bool:
        """Tell in constant time whether a digest belongs to a stored hash."""
        return hmac.compare_digest(self.hash(digest, version), expected)


def generate_pepper() -> str:
    """Draw a first pepper, written as `Peppers.parse` reads it."""
    return f"1:{secrets.token_hex(_PEPPER_BYTES)}"
