"""Charts over time: points of usage as bars, with the words for their times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from markupsafe import Markup

from keygauge_keyservice.portal import figures
from keygauge_keyservice.portal.chart import Bars, Series, draw
from keygauge_keyservice.usage import Bucket, Point

_LABELS = {"hour": "%H:%M", "day": "%-d %b", "week": "%-d %b", "month": "%b %Y"}
_DAY_AND_HOUR, _HOURS_OF_A_DAY = "%a %H:%M", 24
_TITLES = {
    "hour": "%a %-d %b %Y, %H:%M UTC",
    "day": "%a %-d %b %Y, UTC",
    "week": "Week of %-d %b %Y, UTC",
    "month": "%B %Y, UTC",
}


def draw_tokens(
    points: Sequence[Point],
    bucket: Bucket,
    *,
    name: str = "tokens",
    links: Sequence[str] = (),
    is_area: bool = False,
    is_half: bool = False,
) -> Markup:
    """Draw tokens used: input with output on top."""
    return _draw(
        name,
        points,
        bucket,
        Series("Input", "tone-input", [point.input_tokens for point in points]),
        Series("Output", "tone-output", [point.output_tokens for point in points]),
        links=links,
        is_area=is_area,
        is_half=is_half,
    )


def draw_total(points: Sequence[Point], bucket: Bucket, *, name: str = "total", links: Sequence[str] = ()) -> Markup:
    """Draw all tokens used, input and output together, for half a page."""
    series = Series("Tokens", "tone-input", [point.tokens for point in points])
    return _draw(name, points, bucket, series, links=links, is_half=True)


def draw_requests(
    points: Sequence[Point], bucket: Bucket, *, name: str = "requests", links: Sequence[str] = ()
) -> Markup:
    """Draw requests: answered, refused by a limit, failed."""
    return _draw(
        name,
        points,
        bucket,
        Series("Successful", "tone-answered", [answered(point) for point in points]),
        Series("Rate limited", "tone-limited", [point.limited for point in points]),
        Series("Errors", "tone-failed", [failed(point) for point in points]),
        links=links,
    )


def draw_cost(points: Sequence[Point], bucket: Bucket, *, name: str = "cost", links: Sequence[str] = ()) -> Markup:
    """Draw what the tokens cost at list prices."""
    series = Series("Cost", "tone-cost", [point.cost_nanousd for point in points])
    return _draw(name, points, bucket, series, links=links, write=figures.money)


def draw_groups(
    name: str, points: Sequence[Point], bucket: Bucket, groups: Sequence[tuple[str, str]], *, links: Sequence[str] = ()
) -> Markup:
    """Draw the requests of some groups for half a page, each with its tone; the rest is added up as "Other"."""
    starts = {point.start: point for point in points}
    shown = {group for group, _ in groups}
    counts = {group: dict.fromkeys(starts, 0) for group in (*shown, None)}
    for point in points:
        counts[point.group if point.group in shown else None][point.start] += point.requests
    series = [Series(group or "No model", tone, list(counts[group].values())) for group, tone in groups]
    if any(counts[None].values()):
        series.append(Series("Other", "tone-other", list(counts[None].values())))
    return _draw(name, list(starts.values()), bucket, *series, links=links, is_half=True)


def answered(point: Point) -> int:
    """Return the requests that were neither refused nor failed."""
    return point.requests - point.limited - failed(point)


def failed(point: Point) -> int:
    """Return the requests that failed, through the client or the server, those refused by a limit apart."""
    return point.client_errors + point.server_errors


def title(start: datetime, bucket: Bucket) -> str:
    """Write the time of a bar in full."""
    return start.astimezone(UTC).strftime(_TITLES[bucket])


def _draw(
    name: str,
    points: Sequence[Point],
    bucket: Bucket,
    *series: Series,
    links: Sequence[str] = (),
    write: Callable[[int], str] = figures.count,
    **shape: bool,
) -> Markup:
    label = _DAY_AND_HOUR if bucket == "hour" and len(points) > _HOURS_OF_A_DAY else _LABELS[bucket]
    labels = [point.start.astimezone(UTC).strftime(label) for point in points]
    titles = [title(point.start, bucket) for point in points]
    tick = figures.short if write is figures.count else figures.dollars
    bars = Bars(name, labels, titles, series, write=write, write_tick=tick, links=links, **shape)
    return draw(bars) if points else Markup()
