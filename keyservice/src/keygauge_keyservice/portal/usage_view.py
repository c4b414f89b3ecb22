"""The view of a usage page or file, from its URL: the range, metric, groups, bars and filters."""

from __future__ import annotations

from collections.abc import Collection, Container, Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode

from flask import request, url_for

from keygauge_keyservice.database import Connection
from keygauge_keyservice.keys.keys import Key
from keygauge_keyservice.ledger import tags
from keygauge_keyservice.portal import auth, date_range, own_keys, reader
from keygauge_keyservice.portal.charts.metric import METRICS
from keygauge_keyservice.portal.date_range import DateRange
from keygauge_keyservice.texts import mark
from keygauge_keyservice.usage.buckets import Bucket
from keygauge_keyservice.usage.query import Grouping
from keygauge_keyservice.usage.usage import Selection

GROUPINGS: dict[str, Grouping] = {
    "model": "model",
    "endpoint": "route",
    "key": "key",
    "status": "status",
    "tag": "tag",
}
TITLES = {
    "model": mark("Model"),
    "endpoint": mark("Endpoint"),
    "key": mark("Key"),
    "status": mark("Status"),
    "tag": mark("Tag"),
    "kind": mark("Kind"),
}
NOUNS = {
    "model": mark("model"),
    "endpoint": mark("endpoint"),
    "key": mark("key"),
    "status": mark("status"),
    "tag": mark("tag"),
    "kind": mark("kind"),
}
_OF_TAG = ("key", "tag")  # groupings and filters available for tags
KIND = "kind"  # kind of use; not a dimension of calls, as one call has several
KIND_METRICS = ("tokens", "cost", "credits")  # metrics that kinds add up to
CHARTS = {"bars": mark("Bars"), "area": mark("Area"), "table": mark("Table")}
FILTERS = ("key", "model", "route", "tag")  # not "endpoint", which is an argument of url_for
_TEXT_LENGTH_MAX = 200


@dataclass(frozen=True)
class View:
    """The view that a URL requests; invalid parameters count as absent."""

    shown: DateRange
    metric: str
    group: str
    bucket: Bucket
    chart: str
    filters: Mapping[str, str]
    key: Key | None  # the key to filter by
    groupings: Collection[str]  # available groupings

    @property
    def query(self) -> dict[str, str]:
        """Return the view as URL parameters, without defaults."""
        chosen = {"metric": self.metric, "group": self.group, "chart": self.chart}
        defaults = {"metric": "requests", "group": "none", "chart": "bars"}
        parts = {name: value for name, value in chosen.items() if value != defaults[name]}
        if self.bucket != self.shown.bucket:
            parts["bucket"] = self.bucket
        return self.shown.query | dict(self.filters) | parts

    def address(self, **changes: str | None) -> str:
        """Return the URL of this view with some parameters changed, or removed if None."""
        parts = {name: value for name, value in {**self.query, **changes}.items() if value is not None}
        return f"{url_for('portal.usage.show')}?{urlencode(parts)}"


def read_view(connection: Connection, now: datetime) -> View:
    """Read the view from the request; keys are given by id, name or label.

    Raises:
        Problem: 404 if the account has no such key.
    """
    given = request.args
    shown = date_range.read(given, now=now, zone=reader.zone())
    filters = {
        name: text[:_TEXT_LENGTH_MAX] for name in FILTERS if (text := given.get(name, "").strip()) and "\0" not in text
    }
    key = own_keys.require_chosen(connection, filters["key"]) if "key" in filters else None
    if key:
        filters["key"] = key.id
    groupings = [*GROUPINGS, KIND]
    if "tag" in filters:
        groupings = [name for name in groupings if name in (*_OF_TAG, KIND)]
    elif not tags.has_any(connection, auth.current_account_id()):
        groupings.remove("tag")
    group = _one_of(groupings, given.get("group"), "none")
    if "tag" in {group, *filters}:
        filters = {name: text for name, text in filters.items() if name in _OF_TAG}
    metrics, metric = (KIND_METRICS, "cost") if group == KIND else ((*METRICS, "credits"), "requests")
    return View(
        shown=shown,
        metric=_one_of(metrics, given.get("metric"), metric),
        group=group,
        bucket=next((one for one in shown.buckets if one == given.get("bucket")), shown.bucket),
        chart=_one_of(CHARTS, given.get("chart"), "bars"),
        filters=filters,
        key=key,
        groupings=groupings,
    )


def select(view: View) -> Selection:
    """Return the selection of calls that a view counts."""
    selection = Selection(account_id=auth.current_account_id(), start=view.shown.start, end=view.shown.end)
    if view.key:
        selection["key_id"] = view.key.id
    if "model" in view.filters:
        selection["model"] = view.filters["model"]
    if "tag" in view.filters:
        selection["tag"] = view.filters["tag"]
    if "route" in view.filters:
        selection["route"] = view.filters["route"]
    return selection


def _one_of(known: Container[str], text: str | None, default: str) -> str:
    return text if text is not None and text in known else default
