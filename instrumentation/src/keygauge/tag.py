"""The tag of a call: the end user that a key's holder makes it for, named by a header or a JWT claim."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from dataclasses import dataclass
from typing import Literal, Self

from msgspec import DecodeError
from msgspec.json import Decoder

from keygauge import key

LENGTH_MAX = 128  # characters
OTHER = "_other"  # the name for all tags that sums do not list separately
JWT_LENGTH_MAX = 16 * 1024

Fault = Literal["too_long", "bad_text", "bad_token"]

_is_header = re.compile(r"[A-Za-z0-9-]{1,100}").fullmatch
_is_claim = re.compile(r"[!-~]{1,200}").fullmatch
_SECRETS = frozenset({"proxy-authorization", "cookie", *(name.decode() for name in key.HEADERS)})
_BEARER = "bearer "
_PARTS = 3  # of a JWT: header, claims, signature
_decode = Decoder(dict).decode


class TagError(ValueError):
    """A tag is not accepted; `fault` is the reason."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault)
        self.fault = fault


def check(tag: object) -> str:
    """Return a tag if it is valid.

    Raises:
        TagError: it is not a string, empty, too long, unprintable, surrounded by whitespace, reserved, or looks like a
            key; keys are never stored.
    """
    if not isinstance(tag, str):
        raise TagError("bad_text")
    if len(tag) > LENGTH_MAX:
        raise TagError("too_long")
    if not tag.isprintable() or tag.strip() != tag or not tag or tag == OTHER or key.is_in(tag):
        raise TagError("bad_text")
    return tag


@dataclass(frozen=True, slots=True)
class TagSource:
    """The source of tags: a header (its name in lower case), or a claim of the JWT in it."""

    header: str
    claim: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `header:NAME`, `claim:NAME` or `claim:NAME@HEADER`.

        Raises:
            ValueError: the text has another form, or `header:` names a header that holds a secret.
        """
        kind, _, name = text.partition(":")
        if kind == "header" and _is_header(name) and name.lower() not in _SECRETS:
            return cls(name.lower())
        if kind == "claim":
            claim, at, header = name.rpartition("@")
            claim, header = (claim, header) if at else (header, "Authorization")
            if _is_claim(claim) and _is_header(header):
                return cls(header.lower(), claim)
        raise ValueError(
            f"{text!r}: use header:NAME with a header that holds no secret, claim:NAME or claim:NAME@HEADER"
        )

    def find(self, value: str) -> str | None:
        """Return the tag in a header's value, or None.

        Raises:
            TagError: the tag is invalid, or the JWT is.
        """
        found = _text(value) if self.claim is None else _claim(value, self.claim)
        return check(found) if found else None


def _text(value: str) -> str:
    """Decode UTF-8, which HTTP servers pass as Latin-1; return other values as they are."""
    try:
        return value.encode("latin-1").decode().strip()
    except UnicodeError:
        return value.strip()


def _claim(value: str, name: str) -> str | None:
    """Return a claim of a JWT, or None; a value that is no JWT is another credential, such as our key."""
    token = value[len(_BEARER) :] if value[: len(_BEARER)].lower() == _BEARER else value
    parts = token.strip().split(".")
    if len(parts) != _PARTS:
        return None
    if len(token) > JWT_LENGTH_MAX:
        raise TagError("bad_token")
    try:
        claims = _decode(urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, DecodeError, RecursionError) as error:
        raise TagError("bad_token") from error
    found = claims.get(name)
    if found is None:
        return None
    return str(found) if type(found) in {int, str} else check(found)
