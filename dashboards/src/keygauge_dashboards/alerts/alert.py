"""What an alert is, and a recorded series."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from keygauge.metrics import KEY, label

SOURCE = 'source="keygauge"'  # on every alert of ours, for routes and dashboards

NAMED_KEY = "{{ $labels.name }} ({{ $labels." + label(KEY) + " }})"
SHARE = "{{ $value | humanizePercentage }}"
COUNT = '{{ $value | printf "%.0f" }}'

Severity = Literal["page", "ticket", "info"]  # for now, for this week, for the record


@dataclass(frozen=True)
class Links:
    """Where alerts lead, in full: they are read in a chat or on a pager. The defaults are those of compose.yaml."""

    grafana: str = "http://127.0.0.1:3000"
    runbook: str = "http://127.0.0.1:3000/public/runbook.txt"
    owner: str = "api"  # the label of whose alerts these are, for routes

    def runbook_of(self, name: str) -> str:
        """Return the address of an alert's heading in the runbook."""
        return f"{self.runbook}#{anchor(name)}"


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
    impact: str  # what it means for whom, if nobody looks after it
    page: str  # the dashboard about its subject, see `subject`
    labels: Mapping[str, str] = field(default_factory=dict)  # tell apart alerts of one name


def subject(uid: str, **labels: str) -> str:
    """Write the address of a dashboard about what an alert is about: variables by the label with their value."""
    picked = "".join(f"&var-{name}={{{{ $labels.{given} | urlquery }}}}" for name, given in labels.items())
    return f"/d/{uid}?from=now-6h&to=now{picked}"


def anchor(name: str) -> str:
    """Name an alert's heading as Markdown does."""
    return name.lower()


def between(expression: str, levels: Sequence[float]) -> Iterator[tuple[float, str]]:
    """Give each level and the condition that it is reached but not the next: so one alert fires at a time."""
    for level, following in zip(levels, (*levels[1:], None), strict=True):
        upper = "" if following is None else f" < {following}"
        yield level, f"{expression} >= {level}{upper}"
