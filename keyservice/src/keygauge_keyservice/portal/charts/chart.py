"""Charts: SVG rendered by pygal on the server, without inline code that a strict Content-Security-Policy blocks."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, log10
from typing import Any
from xml.etree import ElementTree as ET

import pygal
from markupsafe import Markup, escape
from pygal.config import SerieConfig
from pygal.etree import etree
from pygal.serie import Serie
from pygal.style import Style

from keygauge_keyservice.texts import gettext

# pygal installs an import hook for maps, which are not used here and about which Python 3.11 warns.
sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, pygal.PluginImportFixer)]
etree.to_etree()  # pygal would use lxml if installed, whose trees differ from those used here

_STYLE = Style(label_font_size=12, major_label_font_size=12, font_family="sans-serif")  # font sizes set the margins
_STEPS = (1, 2, 5, 10)  # so that ticks need no more digits than labels show
_TOOLTIP_GAP = 5
_LONG_NUMBER = re.compile(r"\d+\.\d{2,}")
_NOWHERE = object()
_PLACE = '<g class="columns" />'
_NUMBERS = {"d", "x", "y", "width", "height"}


@dataclass(frozen=True)
class Series:
    """One colour of a stack; `tone` is a CSS class."""

    name: str
    tone: str
    values: Sequence[int]


@dataclass(frozen=True)
class Bars:
    """Stacked bars over time, with short labels under some bars and a full title in every tooltip."""

    name: str  # unique id on the page
    labels: Sequence[str]
    titles: Sequence[str]
    series: Sequence[Series]
    write: Callable[[int], str]  # formats a value for tooltips
    write_tick: Callable[[int], str]  # formats a value for the axis
    links: Sequence[str] = ()  # URL of each bar
    is_area: bool = False
    is_half: bool = False  # half of the page's width on wide screens


@dataclass(frozen=True)
class _Frame:
    """The canvas of a variant in CSS pixels; phones get their own so that text stays legible."""

    name: str
    width: int
    height: int
    labels_max: int
    has_tooltips: bool = True


_WIDE, _HALF = _Frame("wide", 1040, 264, 12), _Frame("wide", 520, 240, 6)
_NARROW = _Frame("narrow", 360, 220, 4, has_tooltips=False)  # touch screens cannot hover
_DETAILED_MAX = 100  # maximum bars with detailed tooltips; more would make the page too large
_TOUCHED_MAX = 40  # maximum bars of a narrow chart that a finger can select


def draw(bars: Bars) -> Markup:
    """Render both variants; the stylesheet shows one."""
    return Markup().join(_draw(bars, frame) for frame in (_HALF if bars.is_half else _WIDE, _NARROW))


def _draw(bars: Bars, frame: _Frame) -> Markup:
    shown = set(_spread(len(bars.labels), frame.labels_max))
    labels = [label if index in shown else "" for index, label in enumerate(bars.labels)]
    stacks = [sum(values) for values in zip(*(series.values for series in bars.series), strict=True)]
    is_touched = len(labels) <= _TOUCHED_MAX
    chart = _Columns(
        notes=[_note(bars, index) for index in range(len(labels))] if frame.has_tooltips else [],
        links=bars.links if frame.has_tooltips or is_touched else (),
        is_area=bars.is_area,
        style=_STYLE,
        width=frame.width,
        height=frame.height,
        margin=8,
        margin_right=2,
        spacing=6,
        js=(),
        show_legend=False,
        show_minor_x_labels=False,
        x_labels=labels,
        x_labels_major=[label for label in labels if label],
        truncate_label=-1,
        y_labels=_ticks(max(stacks, default=0)),
        value_formatter=lambda value: bars.write_tick(round(value)),
    )
    chart.uuid = f"{bars.name}-{frame.name}"
    for series in bars.series:
        chart.add(series.name, series.values)
    drawn = _clean(chart.render_tree(), bars, frame).replace(_PLACE, "".join(chart.columns), 1)
    return Markup(drawn)  # noqa: S704 - the tree and the columns escape their text


class _Columns(pygal.StackedBar):  # type: ignore[misc]  # pygal has no types
    """Stacked bars with one path per series; each whole column is a pointer target with one tooltip for all its values.

    pygal's own bars are one element each, plus more for tooltips: three times the size and time. Columns make up most
    of a drawing, so they are written as text outside the tree.
    """

    def __init__(
        self, *, notes: Sequence[tuple[str, str]], links: Sequence[str], is_area: bool, **options: Any
    ) -> None:
        super().__init__(**options)
        self.notes = notes
        self.links = links
        self.is_area = is_area
        self.columns: list[str] = []

    def __getattribute__(self, name: str) -> Any:
        """Look up a name in the drawing's state first, as pygal does, but in a fraction of the time."""
        read = object.__getattribute__
        state = None if name == "state" or name.startswith("__") else read(self, "__dict__").get("state")
        found = _NOWHERE if state is None else state.__dict__.get(name, _NOWHERE)
        return read(self, name) if found is _NOWHERE else found

    def prepare_values(self, raw: Sequence[tuple[Sequence[int], dict[str, str]]], offset: int = 0) -> list[Any]:
        """Return the series; pygal would look up each of the drawing's options for each of them."""
        self._adapt = int  # pygal's ticks are numbers of any kind
        return [
            Serie(offset + index, list(values), SerieConfig(**options)) for index, (values, options) in enumerate(raw)
        ]

    def _draw(self) -> None:
        super()._draw()
        box = f"0 0 {self.width} {self.height}"
        self.svg.pre_render = lambda: self.svg.root.set("viewBox", box)  # pygal adds styles and scripts too

    def _plot(self) -> None:
        view, svg = self.view, self.svg
        width = (view.x(1) - view.x(0)) / self._len
        lefts = [view.x(index / self._len) for index in range(self._len)]
        heights = [0.0] * self._len
        tops = [sum(values) for values in zip(*(series.values for series in self.series), strict=True)]
        for series in self.series:
            path = [self._area(heights, series.values, lefts, width)] if self.is_area else []
            for index, value in enumerate(series.values):
                lower, heights[index] = heights[index], heights[index] + value
                if value and not self.is_area:
                    y, bottom = view.y(heights[index]), view.y(lower)
                    path.append(_bar(lefts[index], y, width, bottom - y, is_top=heights[index] == tops[index]))
            svg.node(svg.serie(series)["plot"], "path", d="".join(path))
        svg.node(self.nodes["overlay"], "g", class_="columns")
        if not (self.links or self.notes):
            return
        links: Sequence[str] = self.links or [""] * self._len
        notes: Sequence[tuple[str, str] | None] = self.notes or [None] * self._len
        for left, note, link in zip(lefts, notes, links, strict=True):
            self.columns.append(_column(left, width, view.width, view.height, note, link))

    def _area(self, lowers: Sequence[float], values: Sequence[int], lefts: Sequence[float], width: float) -> str:
        """Return the outline of a layer between the layers below it and its own height."""
        middles = [left + width / 2 for left in lefts]
        uppers = [lower + value for lower, value in zip(lowers, values, strict=True)]
        points = [*zip(middles, uppers, strict=True), *reversed([*zip(middles, lowers, strict=True)])]
        return "M" + "L".join(f"{x:.1f} {self.view.y(y):.1f}" for x, y in points) + "z"


def _column(  # noqa: PLR0917 - a box and its contents
    left: float, width: float, full_width: float, height: float, note: tuple[str, str] | None, link: str
) -> str:
    """Return a column's pointer target: its link and, if it has one, its tooltip."""
    # Not focusable, as the chart is hidden from assistive technology; the table next to it has the same links.
    tag, address = ("a", f' href="{escape(link)}" tabindex="-1"') if link else ("g", "")
    box = f'x="{left:.1f}" width="{width:.1f}" height="{height:.1f}"/>'
    if note is None:
        return f'<{tag} class="column"{address}><rect class="reactive" {box}</{tag}>'
    is_right = left > full_width / 2  # the tooltip is then on the left, so that it never covers its own bar
    beside = round(left - _TOOLTIP_GAP if is_right else left + width + _TOOLTIP_GAP)
    return (
        f'<{tag} class="column"{address}><rect class="reactive tooltip-trigger" {box}'
        f'<desc class="label">{escape(note[0])}</desc><desc class="value">{escape(note[1])}</desc>'
        f'<desc class="{"x left" if is_right else "x"}">{beside}</desc><desc class="y">6</desc></{tag}>'
    )


def _bar(left: float, top: float, width: float, height: float, *, is_top: bool) -> str:
    """Return a segment's outline, with a gap to its neighbours; the topmost has rounded corners."""
    gap = min(width * 0.14, 3)
    left, width = left + gap, width - 2 * gap
    turn = min(3.0, width / 3, height) if is_top else 0.0
    rise, across, fall = turn - height, width - 2 * turn, height - turn
    left_turn, right_turn = f"q0 {-turn:.1f} {turn:.1f} {-turn:.1f}", f"q{turn:.1f} 0 {turn:.1f} {turn:.1f}"
    if not turn:
        left_turn = right_turn = ""
    return f"M{left:.1f} {top + height:.1f}v{rise:.1f}{left_turn}h{across:.1f}{right_turn}v{fall:.1f}z"


def _note(bars: Bars, index: int) -> tuple[str, str]:
    is_detailed = len(bars.series) == 1 or len(bars.labels) <= _DETAILED_MAX
    lines = [f"{series.name} {bars.write(series.values[index])}" for series in reversed(bars.series) if is_detailed]
    if len(bars.series) > 1:
        lines.append(f"{gettext('Total')} {bars.write(sum(series.values[index] for series in bars.series))}")
    return bars.titles[index], "\n".join(lines)


def _clean(root: ET.Element, bars: Bars, frame: _Frame) -> str:
    """Remove pygal's inline styles, scripts, titles and long numbers; set the series' CSS classes."""
    for parent in list(root.iter()):
        for child in list(parent):
            if not isinstance(child.tag, str) or child.tag in {"defs", "title", "style", "script"}:
                parent.remove(child)
        parent.attrib.pop("style", None)
        for name in _NUMBERS & parent.attrib.keys():
            parent.set(name, _LONG_NUMBER.sub(lambda found: f"{float(found[0]):.1f}", parent.attrib[name]))
    for node in root.iter("g"):
        if "series" in (classes := node.get("class", "").split()):
            number = int(classes[1].removeprefix("serie-"))
            node.set("class", f"series {bars.series[number].tone}")
    root.set("class", f"pygal-chart chart-{frame.name}")
    root.set("aria-hidden", "true")  # the table next to it has the same content
    return ET.tostring(root, encoding="unicode")


def _ticks(top: int, count: int = 6) -> list[int]:
    """Return round values from 0 to at least `top`."""
    rough = max(top / count, 1)
    order = 10 ** int(log10(rough))
    step = next(step * order for step in _STEPS if step * order >= rough)
    return [number * step for number in range(max(ceil(top / step), 1) + 1)]


def _spread(count: int, shown_max: int) -> range:
    """Return the indexes of the labels to show: evenly spaced, including the newest."""
    step = max(1, ceil(count / shown_max))
    return range((count - 1) % step, count, step)
