"""Field types shared by several requests; the same definition is documented and checked."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, TypeAlias

from msgspec import Meta

from keygauge_keyservice.texts import mark

NAME_LENGTH_MAX = 100
TEXT_LENGTH_MAX = 512  # same as in the ledger
SLUG = "[a-z0-9][a-z0-9_-]{0,39}"
_ID_MAX = 2**63 - 1
_is_slug = re.compile(SLUG, re.ASCII).fullmatch
_PREVIOUS = mark("must be the `next` value of the previous page")


def matching(is_right: Callable[[str], object]) -> Callable[[str], str]:
    """Return a converter that raises ValueError for texts that do not match."""

    def take(text: str) -> str:
        if not is_right(text):
            raise ValueError(text)
        return text

    return take


def checked(take: Callable[[Any], object], code: str, hint: str, **values: object) -> dict[str, Any]:
    """Return a type's metadata for `reading`: how to convert a value, and the error if that fails."""
    return {"take": take, "hint": hint, "values": values, "code": code}


def _is_name(text: str) -> bool:
    return text == text.strip() and 1 <= len(text) <= NAME_LENGTH_MAX


Name: TypeAlias = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=NAME_LENGTH_MAX,
        extra=checked(
            matching(_is_name),
            "wrong_name",
            mark("must have 1 to %(most)s printable characters"),
            most=NAME_LENGTH_MAX,
        ),
    ),
]
Slug: TypeAlias = Annotated[
    str,
    Meta(
        pattern=f"^{SLUG}$",
        extra=checked(
            matching(_is_slug),
            "wrong_slug",
            mark("must be 1 to 40 of a-z, 0-9, _ and -, and start with a letter or digit"),
        ),
    ),
]
Text: TypeAlias = Annotated[str, Meta(max_length=TEXT_LENGTH_MAX)]
Time: TypeAlias = Annotated[datetime, Meta(tz=True)]
Cursor: TypeAlias = Annotated[str, Meta(max_length=NAME_LENGTH_MAX, extra=checked(str, "wrong_cursor", _PREVIOUS))]
NumberCursor: TypeAlias = Annotated[int, Meta(ge=0, le=_ID_MAX, extra=checked(int, "wrong_cursor", _PREVIOUS))]
