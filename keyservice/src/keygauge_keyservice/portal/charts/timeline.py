"""Charts over time: points of usage as bars, with time labels."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from markupsafe import Markup

from keygauge_keyservice.portal import formatting
from keygauge_keyservice.portal.charts.chart import Bars, Series, draw
from keygauge_keyservice.portal.charts.metric import Metric
from keygauge_keyservice.texts import gettext
from keygauge_keyservice.usage.buckets import Bucket
from keygauge_keyservice.usage.usage import Point

_LABELS = {"hour": "HH:mm", "day": "d MMM", "week": "d MMM", "month": "MMM yyyy"}
_DAY_AND_HOUR, _HOURS_OF_A_DAY = "EEE HH:mm", 24
_TITLES = {
    "hour": "EEE d MMM yyyy, HH:mm",
    "day": "EEE d MMM yyyy",
    "week": "d MMM yyyy",
    "month": "MMMM yyyy",
}


def layers_of(
    metric: Metric, points: Sequence[Point], grouped: Sequence[Point], groups: Sequence[tuple[str, str, str]]
) -> list[Series]:
    """Return a metric as stacked series: by groups (id, name, tone) and "Other", or by its layers."""
    if not groups or not metric.is_stacked:
        return [
            Series(gettext(layer.name), layer.tone, [layer.read(point) for point in points]) for layer in metric.layers
        ]
    places = {point.start: place for place, point in enumerate(points)}
    values = {group: [0] * len(points) for group, _, _ in groups}
    rest = [metric.read(point) for point in points]
    for point in grouped:
        place, amount = places[point.start], metric.read(point)
        values[point.names[0]][place] = amount
        rest[place] -= amount
    series = [Series(name, tone, values[group]) for group, name, tone in groups]
    return [*series, Series(gettext("Other"), "tone-other", rest)] if any(rest) else series


def draw_layers(
    name: str,
    metric: Metric,
    layers: Sequence[Series],
    points: Sequence[Point],
    bucket: Bucket,
    *,
    zone: ZoneInfo,
    links: Sequence[str] = (),
    is_area: bool = False,
    is_half: bool = False,
) -> Markup:
    """Render stacked series over time."""
    label = _DAY_AND_HOUR if bucket == "hour" and len(points) > _HOURS_OF_A_DAY else _LABELS[bucket]
    bars = Bars(
        name,
        [formatting.time_label(point.start, label, zone) for point in points],
        [title(point.start, bucket, zone) for point in points],
        layers,
        write=metric.write,
        write_tick=metric.write_tick,
        links=links,
        is_area=is_area,
        is_half=is_half,
    )
    return draw(bars) if points else Markup()


def draw_metric(
    name: str, metric: Metric, points: Sequence[Point], bucket: Bucket, *, zone: ZoneInfo, links: Sequence[str] = ()
) -> Markup:
    """Render a metric by its own layers."""
    return draw_layers(name, metric, layers_of(metric, points, (), ()), points, bucket, zone=zone, links=links)


def title(start: datetime, bucket: Bucket, zone: ZoneInfo) -> str:
    """Format the time of a bar in full."""
    text = formatting.time_label(start, _TITLES[bucket], zone)
    if bucket == "week":
        text = gettext("Week of %(day)s", day=text)
    return f"{text} {formatting.zone_name(start, zone)}"
