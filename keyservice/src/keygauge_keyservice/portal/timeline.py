"""Charts over time: points of usage as bars, with the words for their times."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from markupsafe import Markup

from keygauge_keyservice.portal import figures
from keygauge_keyservice.portal.chart import Bars, Series, draw
from keygauge_keyservice.usage import Bucket, Point

_LABELS = {"hour": "%H:%M", "day": "%-d %b", "week": "%-d %b", "month": "%b %Y"}
_TITLES = {
    "hour": "%a %-d %b %Y, %H:%M UTC",
    "day": "%a %-d %b %Y, UTC",
    "week": "Week of %-d %b %Y, UTC",
    "month": "%B %Y, UTC",
}


def draw_tokens(points: Sequence[Point], bucket: Bucket, *, name: str = "tokens") -> Markup:
    """Draw tokens used: input with output on top."""
    return _draw(
        name,
        points,
        bucket,
        Series("Input", "tone-input", [point.input_tokens for point in points]),
        Series("Output", "tone-output", [point.output_tokens for point in points]),
    )


def draw_requests(points: Sequence[Point], bucket: Bucket, *, name: str = "requests") -> Markup:
    """Draw requests: answered, refused by a limit, failed."""
    return _draw(
        name,
        points,
        bucket,
        Series("Answered", "tone-answered", [answered(point) for point in points]),
        Series("Limited", "tone-limited", [point.limited for point in points]),
        Series("Failed", "tone-failed", [failed(point) for point in points]),
    )


def answered(point: Point) -> int:
    """Return the requests that were neither refused nor failed."""
    return point.requests - point.limited - failed(point)


def failed(point: Point) -> int:
    """Return the requests that failed, through the client or the server, those refused by a limit apart."""
    return point.client_errors + point.server_errors


def title(start: datetime, bucket: Bucket) -> str:
    """Write the time of a bar in full."""
    return start.astimezone(UTC).strftime(_TITLES[bucket])


def _draw(name: str, points: Sequence[Point], bucket: Bucket, *series: Series) -> Markup:
    labels = [point.start.astimezone(UTC).strftime(_LABELS[bucket]) for point in points]
    titles = [title(point.start, bucket) for point in points]
    bars = Bars(name, labels, titles, series, write=figures.count, write_tick=figures.short)
    return draw(bars) if points else Markup()
