"""The part of a query that says which calls it asks for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from keygauge_keyservice.api.schema import TEXT, TIME, enum, query
from keygauge_keyservice.fields import Fields
from keygauge_keyservice.ledger.event import TEXT_LENGTH_MAX
from keygauge_keyservice.usage.usage import Selection

_RANGE = timedelta(days=30)  # when no start is given

PARAMETERS = [
    query("from", TIME, "the first moment; 30 days before `to` where it is absent"),
    query("to", TIME, "the first moment after the range; now where it is absent"),
    query("key", TEXT, "only this key's calls"),
    query("route", TEXT, "only calls of this route"),
    query("model", TEXT, "only calls that this model answered"),
    query("format", enum("json", "csv"), "json where it is absent"),
]


def read_selection(given: Fields) -> Selection:
    """Read which calls a query asks for; `given.check` is the caller's."""
    end = given.time("to") or datetime.now(UTC)
    return Selection(
        account_id=given.text("account", length_max=TEXT_LENGTH_MAX),
        start=given.time("from") or end - _RANGE,
        end=end,
        key_id=given.text("key", length_max=TEXT_LENGTH_MAX),
        route=given.text("route", length_max=TEXT_LENGTH_MAX),
        model=given.text("model", length_max=TEXT_LENGTH_MAX),
    )
