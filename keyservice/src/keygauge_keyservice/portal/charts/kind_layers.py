"""Tokens or cost over time, stacked by kind of use."""

from __future__ import annotations

from collections.abc import Sequence

from keygauge_keyservice.portal.charts.chart import Series
from keygauge_keyservice.texts import gettext
from keygauge_keyservice.usage import kind_titles
from keygauge_keyservice.usage.sums import DetailedSums, KindUse

_OWN_MAX = 5  # kinds with their own colour


def layers_of_kinds(points: Sequence[DetailedSums], metric: str) -> list[Series]:
    """Return the kinds of use as stacked series, largest first; kinds without a colour are summed as "Other"."""
    amounts = [_amounts(point.kinds, metric) for point in points]
    found = {kind: sum(part.get(kind, 0) for part in amounts) for part in amounts for kind in part}
    ranked = sorted(found, key=lambda kind: (-found[kind], kind)) or ["input"]
    own, others = ranked[:_OWN_MAX], ranked[_OWN_MAX:]
    series = [
        Series(kind_titles.title(kind), f"tone-{rank}", [part.get(kind, 0) for part in amounts])
        for rank, kind in enumerate(own, 1)
    ]
    rest = [sum(part.get(kind, 0) for kind in others) for part in amounts]
    return [*series, Series(gettext("Other"), "tone-other", rest)] if any(rest) else series


def _amounts(used: dict[str, KindUse], metric: str) -> dict[str, int]:
    if metric == "tokens":
        return {kind: use.count for kind, use in used.items() if use.count and kind_titles.is_token(kind)}
    return {kind: use.cost_nanousd for kind, use in used.items() if use.cost_nanousd}
