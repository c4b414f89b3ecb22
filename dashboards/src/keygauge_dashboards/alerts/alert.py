"""Types for alerts and recorded series."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from keygauge import service_metrics as service
from keygauge.metrics import KEY, label
from keygauge_dashboards.promql.queries import ENV, JOB

SOURCE = 'source="keygauge"'  # label of every KeyGauge alert, for routing and dashboards

NAMED_KEY = "{{ $labels.name }} ({{ $labels." + label(KEY) + " }})"
SHARE = "{{ $value | humanizePercentage }}"
IN_ENVIRONMENT = "{{ with $labels." + ENV + " }} ({{ . }}){{ end }}"
COUNT = '{{ $value | printf "%.0f" }}'

Severity = Literal["page", "ticket", "info"]  # act now, act this week, for information


@dataclass(frozen=True)
class Links:
    """The targets of alerts' links, as full URLs for chats and pagers. The defaults are those of compose.yaml."""

    grafana: str = "http://127.0.0.1:3000"
    runbook: str = "http://127.0.0.1:3000/public/runbook.txt"
    owner: str = "api"  # the value of the label `owner`, for routing

    def runbook_of(self, name: str) -> str:
        """Return the URL of an alert's section in the runbook."""
        return f"{self.runbook}#{anchor(name)}"


@dataclass(frozen=True)
class Record:
    """A Prometheus recording rule."""

    name: str
    expression: str
    is_slow: bool = False  # reads a long range, so it is evaluated less often


@dataclass(frozen=True)
class Alert:
    """An alerting rule."""

    name: str
    severity: Severity
    expression: str
    hold: str  # how long the condition must be true
    summary: str
    description: str
    impact: str  # the consequences, and for whom, if nobody acts
    page: str  # the dashboard about the alert's subject, see `subject`
    labels: Mapping[str, str] = field(default_factory=dict)  # distinguish alerts of the same name


def subject(uid: str, **labels: str) -> str:
    """Return the path of a dashboard about an alert's subject; `labels` maps variables to labels with the values."""
    selected = "".join(f"&var-{name}={{{{ $labels.{given} | urlquery }}}}" for name, given in labels.items())
    return f"/d/{uid}?from=now-6h&to=now{selected}"


def of_service(uid: str) -> str:
    """Return the path of a dashboard about an alert's service, in its environment if it has one."""
    return subject(uid, job=JOB) + _if_labelled(ENV, "env")


def of_limit(uid: str) -> str:
    """Return the path of a dashboard about an alert's limit: of its account, and of its key if it is a key's own."""
    return subject(uid, account=service.ACCOUNT) + _if_labelled(service.KEY, "key")


def _if_labelled(given: str, variable: str) -> str:
    return f"{{{{ with $labels.{given} }}}}&var-{variable}={{{{ . | urlquery }}}}{{{{ end }}}}"


def anchor(name: str) -> str:
    """Return the Markdown anchor of an alert's heading."""
    return name.lower()


def between(expression: str, levels: Sequence[float]) -> Iterator[tuple[float, str]]:
    """Yield each level with the condition that it is reached but not the next, so that only one alert fires."""
    for level, following in zip(levels, (*levels[1:], None), strict=True):
        upper = "" if following is None else f" < {following}"
        yield level, f"{expression} >= {level}{upper}"
