"""Query parameters that select calls."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from keygauge_keyservice.values.field_types import Text, Time

_RANGE = timedelta(days=30)  # if no start is given


class CallSelection(Struct):
    """A selection of calls and the format of the response."""

    start: Annotated[Time, Meta(description="the start of the range; default: 30 days before `to`")] | None = field(
        name="from", default=None
    )
    end: Annotated[Time, Meta(description="the end of the range, exclusive; default: now")] | None = field(
        name="to", default=None
    )
    key: Annotated[Text, Meta(description="only this key's calls")] | None = None
    route: Annotated[Text, Meta(description="only calls of this route")] | None = None
    model: Annotated[Text, Meta(description="only calls of this model")] | None = None
    tag: Annotated[Text, Meta(description="only calls for this end user")] | None = None
    format: Literal["json", "csv"] = "json"

    def range(self) -> tuple[datetime, datetime]:
        """Return the time range."""
        end = self.end or datetime.now(UTC)
        return self.start or end - _RANGE, end
