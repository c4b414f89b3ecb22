"""Pagination parameters of list queries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Protocol, TypeAlias

from msgspec import Meta, Struct

from keygauge_keyservice.values.field_types import Cursor, NumberCursor

SIZE_MAX = 500
ID_MAX = 2**63 - 1  # PostgreSQL's largest bigint

After: TypeAlias = Annotated[Cursor, Meta(description="the `next` value of the previous page")]
Size: TypeAlias = Annotated[int, Meta(ge=1, le=SIZE_MAX, description="the maximum number of items")]


class Page(Struct):
    """A page of a list."""

    after: After | None = None
    limit: Size = 100


class NumberedPage(Struct):
    """A page of a list whose cursors are numbers."""

    after: Annotated[NumberCursor, Meta(description="the `next` value of the previous page")] | None = None
    limit: Size = 100


class _Named(Protocol):
    @property
    def id(self) -> str | int: ...


def next_of(found: Sequence[_Named], limit: int) -> str | None:
    """Return the cursor of the next page, or None if this is the last."""
    return str(found[-1].id) if len(found) == limit else None


def row_id(number: int) -> int:
    """Return an id from a path, limited to PostgreSQL's range; the largest id does not exist either."""
    return min(number, ID_MAX)
