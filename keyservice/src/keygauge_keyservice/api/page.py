"""The part of a query that says which page of a list it asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Protocol, TypeAlias

from msgspec import Meta, Struct

from keygauge_keyservice.field_types import Cursor, NumberCursor

SIZE_MAX = 500


After: TypeAlias = Annotated[Cursor, Meta(description="the `next` of the page before")]
Size: TypeAlias = Annotated[int, Meta(ge=1, le=SIZE_MAX, description="how many at most")]


class Page(Struct):
    """Which page is asked for."""

    after: After | None = None
    limit: Size = 100


class NumberedPage(Struct):
    """Which page is asked for of a list whose cursors are numbers."""

    after: Annotated[NumberCursor, Meta(description="the `next` of the page before")] | None = None
    limit: Size = 100


class _Named(Protocol):
    @property
    def id(self) -> str | int: ...


def next_of(found: Sequence[_Named], limit: int) -> str | None:
    """Return where the page after this one goes on; None where this is the last."""
    return str(found[-1].id) if len(found) == limit else None
