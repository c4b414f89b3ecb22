"""What an alert is, and a recorded series."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from keygauge.metrics import KEY, label

SOURCE = 'source="keygauge"'  # on every alert of ours, for routes and dashboards
RUNBOOK = "docs/operate/runbook.md"  # where nobody says another address

NAMED_KEY = "{{ $labels.name }} ({{ $labels." + label(KEY) + " }})"
SHARE = "{{ $value | humanizePercentage }}"
COUNT = '{{ $value | printf "%.0f" }}'

Severity = Literal["page", "ticket", "info"]  # for now, for this week, for the record


@dataclass(frozen=True)
class Record:
    """A series that Prometheus keeps of an expression."""

    name: str
    expression: str
    is_slow: bool = False  # to be read from much history: evaluated less often


@dataclass(frozen=True)
class Alert:
    """A condition that somebody must know of."""

    name: str
    severity: Severity
    expression: str
    hold: str  # how long it must be true
    summary: str
    description: str
    labels: Mapping[str, str] = field(default_factory=dict)  # tell apart alerts of one name


def heading(runbook: str, name: str) -> str:
    """Return the address of an alert's heading in the runbook."""
    return f"{runbook}#{name.lower()}"


def between(expression: str, levels: Sequence[float]) -> Iterator[tuple[float, str]]:
    """Give each level and the condition that it is reached but not the next: so one alert fires at a time."""
    for level, following in zip(levels, (*levels[1:], None), strict=True):
        upper = "" if following is None else f" < {following}"
        yield level, f"{expression} >= {level}{upper}"
