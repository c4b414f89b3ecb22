"""The alerts that Prometheus evaluates, and the recorded series they read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from keygauge.metrics import KEY, REQUESTS, STATUS, label
from keygauge_dashboards.queries import EVERYTHING, JOB, increase, is_, like, named, rate, ratio
from keygauge_dashboards.thresholds import Burn, Thresholds

SOURCE = 'source="keygauge"'  # on every alert of ours, for routes and dashboards
RUNBOOK = "docs/runbook.md"

_KEY = "{{ $labels.name }} ({{ $labels." + label(KEY) + " }})"


@dataclass(frozen=True)
class Record:
    """A series that Prometheus keeps of an expression."""

    name: str
    expression: str


@dataclass(frozen=True)
class Alert:
    """A condition that somebody must know of: `severity` page is for now, ticket for this week."""

    name: str
    severity: str
    expression: str
    hold: str  # how long it must be true
    summary: str
    description: str
    variant: str = ""  # tells apart alerts of one name

    @property
    def runbook(self) -> str:
        """Return the address of the alert's heading in the runbook."""
        return f"{RUNBOOK}#{self.name.lower()}"


def records(thresholds: Thresholds) -> list[Record]:
    """Return what is recorded: the share of 5xx per service, for every window of the burn rates."""
    windows = dict.fromkeys(window for burn in thresholds.burns for window in (burn.short, burn.long))
    return [Record(_error_share(window), _error_share_expression(window)) for window in windows]


def alerts(thresholds: Thresholds) -> list[Alert]:
    """Return every alert."""
    return [_key_rate_limited(thresholds), *_error_budget_burns(thresholds)]


def _key_rate_limited(thresholds: Thresholds) -> Alert:
    limited, all_ = (
        increase(REQUESTS, *where, by=(JOB, KEY), window="5m", scope=EVERYTHING)
        for where in ((is_(STATUS, "429"),), ())
    )
    often = f"{limited} > {thresholds.limited_requests}"
    condition = f"(({limited}) / ({all_}) > {thresholds.limited_share}) and ({often})"
    return Alert(
        name="KeyRateLimited",
        severity="ticket",
        expression=named(condition, JOB),
        hold="5m",
        summary=f"Key {_KEY} runs into its limits",
        description=(
            "{{ $value | humanizePercentage }} of the key's requests of the last 5 minutes were answered with 429 by "
            "{{ $labels.job }}: its client does not back off, or its plan is too small."
        ),
    )


def _error_budget_burns(thresholds: Thresholds) -> Iterator[Alert]:
    budget = round(1 - thresholds.availability_objective, 9)
    for burn in thresholds.burns:
        yield Alert(
            name="ErrorBudgetBurn",
            variant=burn.long,
            severity=burn.severity,
            expression=_burns(burn, round(burn.factor * budget, 9)),
            hold=burn.hold,
            summary="{{ $labels.job }} burns its error budget " + f"{burn.factor:g} times too fast",
            description=(
                "{{ $value | humanizePercentage }} of the requests to {{ $labels.job }} "
                f"of the last {burn.long} were answered with 5xx; {budget:.2%} are allowed."
            ),
        )


def _burns(burn: Burn, share: float) -> str:
    return f"{_error_share(burn.long)} > {share} and {_error_share(burn.short)} > {share}"


def _error_share(window: str) -> str:
    return f"{JOB}:{REQUESTS.prometheus_name.removesuffix('_total')}_errors:ratio_rate{window}"


def _error_share_expression(window: str) -> str:
    errors, every = (
        rate(REQUESTS, *where, by=(JOB,), window=window, scope=EVERYTHING) for where in ((like(STATUS, "5.."),), ())
    )
    return ratio(errors, every)
