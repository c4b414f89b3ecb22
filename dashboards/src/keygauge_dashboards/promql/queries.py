"""PromQL built from the metric registry, so that only metrics and labels that the code emits can be queried."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from keygauge import metrics, service_metrics
from keygauge.metrics import KEY, MODEL, ROUTE, Metric, label

JOB = "job"  # the metered service, set by the scrape, or by the collector from service.name
INSTANCE = "instance"  # one of its processes
ENV = "deployment_environment_name"  # from the metered service's resource; absent if not set there
ALERTS = "ALERTS"  # Prometheus' series of its alerts
SINCE = "ALERTS_FOR_STATE"  # … and of when their conditions became true
UP = "up"  # Prometheus' series of its targets
RATE = "$__rate_interval"
RANGE = "$__range"
NO_MODEL = "no model"  # shown as the model of calls without one
GAP = "1h"  # a process that was not seen for this long may still be the same

Part = Literal["", "_bucket", "_count", "native"]  # of a histogram
NATIVE: Part = "native"  # one series with all buckets, whose name has no suffix

# The dashboard variable that filters each label, on every metric that has the label.
SCOPE: Mapping[str, str] = {
    ENV: "$env",
    JOB: "$job",
    KEY: "$key",
    ROUTE: "$endpoint",
    MODEL: "$model",
    service_metrics.ACCOUNT: "$account",
    service_metrics.KEY: "$key|",  # empty for limits of a whole account
}
EVERYTHING: Mapping[str, str] = {}  # for alerts


class QueryError(ValueError):
    """A query uses a label that the metric does not have."""


@dataclass(frozen=True)
class Match:
    """A condition on a label."""

    attribute: str
    operator: Literal["=", "!=", "=~", "!~"]
    value: str


def is_(attribute: str, value: str) -> Match:
    """Match a label's value."""
    return Match(attribute, "=", value)


def like(attribute: str, pattern: str) -> Match:
    """Match a label by a regular expression."""
    return Match(attribute, "=~", pattern)


def unlike(attribute: str, pattern: str) -> Match:
    """Match values that a regular expression does not match."""
    return Match(attribute, "!~", pattern)


def select(metric: Metric, *where: Match, scope: Mapping[str, str] = SCOPE, part: Part = "") -> str:
    """Select a metric's series, filtered by the variables of the dashboard.

    Raises:
        QueryError: the metric has no such label, or `part` does not fit its kind.
    """
    if bool(part) != (metric.kind == "histogram"):
        raise QueryError(f"{metric.name} is a {metric.kind}: part {part!r} does not fit")
    narrowed = tuple(like(attribute, variable) for attribute, variable in scope.items() if _has(metric, attribute))
    for match in where:
        _check(metric, match.attribute)
    matchers = ", ".join(f'{label(match.attribute)}{match.operator}"{match.value}"' for match in (*narrowed, *where))
    name = metric.prometheus_name + ("" if part == NATIVE else part)
    return f"{name}{{{matchers}}}" if matchers else name


def rate(
    metric: Metric, *where: Match, by: tuple[str, ...] = (), window: str = RATE, scope: Mapping[str, str] = SCOPE
) -> str:
    """Return the per-second rate, summed over all labels not in `by`."""
    return total(metric, f"rate({select(metric, *where, scope=scope)}[{window}])", by)


def increase(
    metric: Metric, *where: Match, by: tuple[str, ...] = (), window: str = RANGE, scope: Mapping[str, str] = SCOPE
) -> str:
    """Return the increase in a window, summed over all labels not in `by`."""
    return total(metric, f"increase({select(metric, *where, scope=scope)}[{window}])", by)


def occurred(metric: Metric, *, by: tuple[str, ...], window: str) -> str:
    """Return the increase over all services, if above 0, of a counter that may have first appeared in the window."""
    return f"{gained(metric, by=by, window=window, scope=EVERYTHING, known=metrics.SPOOL_EVENTS)} > 0"


def gained(
    metric: Metric,
    *where: Match,
    by: tuple[str, ...] = (),
    window: str = RANGE,
    scope: Mapping[str, str] = SCOPE,
    known: Metric | None = None,
) -> str:
    """Return the increase in a window, including the initial values of new series, which `increase` leaves out.

    A counter appears with its first count, so `increase` misses a single occurrence, such as one error of a key.
    Until Prometheus has data of the metric for a whole window, this equals `increase`, because older series would look
    new; if few processes have the metric, `known` is one that all have. A series that continues from its value before a
    gap of its whole process is not new either.
    """
    series = select(metric, *where, scope=scope)
    every = select(known or metric, scope=EVERYTHING)
    first = f"min_over_time({series}[{window}])"
    before = f"last_over_time({series}[{GAP}] offset {window})"
    went_on = f"{before} <= {first} unless on ({JOB}, {INSTANCE}) {every} offset {window}"
    new = f"({first} unless {series} offset {window} unless ({went_on})) and on () group({every} offset {window})"
    return total(metric, f'increase({series}[{window}]) or label_replace({new}, "new", "1", "__name__", ".*")', by)


def total(metric: Metric, inner: str, by: tuple[str, ...]) -> str:
    """Sum a metric's series, keeping the labels of `by`."""
    for attribute in by:
        _check(metric, attribute)
    return f"sum{by_(*by)} ({inner})"


def by_(*attributes: str) -> str:
    """Return the `by` clause of an aggregation."""
    return f" by ({', '.join(label(attribute) for attribute in attributes)})" if attributes else ""


def ratio(some: str, every: str) -> str:
    """Divide a part by its whole: 0 if the part has no series, no result if the whole is 0."""
    return f"({some} or {every} * 0) / ({every} > 0)"


def share_now(some: str, every: str) -> str:
    """Divide a part by its whole: 0 if the whole is 0, so that the latest value is never one from before a pause."""
    return f"{ratio(some, every)} or {every} * 0"


def or_zero(expression: str) -> str:
    """Turn the absence of a sum without labels into 0."""
    return f"({expression}) or vector(0)"


def model_named(expression: str) -> str:
    """Label calls without a model as NO_MODEL, in an expression that keeps MODEL."""
    return f'label_replace({expression}, "{label(MODEL)}", "{NO_MODEL}", "{label(MODEL)}", "")'


def named(expression: str, *on: str) -> str:
    """Add a key's `name` and `account` to an expression that keeps KEY; the name is the id if it is unknown."""
    info = service_metrics
    source = f'label_replace({info.KEY_INFO.prometheus_name}, "{label(KEY)}", "$1", "{info.ID}", "(.+)")'
    # One name per key, even while replicas of the key service report an old and a new one.
    names = f"topk by ({label(KEY)}) (1, max by ({label(KEY)}, {info.NAME}, {info.ACCOUNT}) ({source}))"
    joined = f"({expression}) * on ({label(KEY)}) group_left ({info.NAME}, {info.ACCOUNT}) {names}"
    bare = f'label_replace({expression}, "{info.NAME}", "$1", "{label(KEY)}", "(.+)")'
    return f"({joined}) or on ({', '.join(map(label, (*on, KEY)))}) {bare}"


def owned(expression: str) -> str:
    """Add `account_name` and a key's `name` to an expression by account, key and limit; or 'all keys'."""
    info = service_metrics
    own = f'label_replace({info.KEY_INFO.prometheus_name}, "{info.KEY}", "$1", "{info.ID}", "(.+)")'
    whole = f"max by ({info.ACCOUNT}, {info.ACCOUNT_NAME}) ({info.KEY_INFO.prometheus_name})"
    shared = f'label_replace({whole}, "{info.NAME}", "all keys", "{info.ACCOUNT}", ".*")'
    info_series = f"max by ({info.ACCOUNT}, {info.KEY}, {info.ACCOUNT_NAME}, {info.NAME}) ({own} or {shared})"
    names = f"topk by ({info.ACCOUNT}, {info.KEY}) (1, {info_series})"  # one each, see above
    joined = f"({expression}) * on ({info.ACCOUNT}, {info.KEY}) group_left ({info.ACCOUNT_NAME}, {info.NAME}) {names}"
    bare = f'label_replace({expression}, "{info.ACCOUNT_NAME}", "$1", "{info.ACCOUNT}", "(.+)")'
    return f"({joined}) or on ({info.ACCOUNT}, {info.KEY}, {info.LIMIT}) {bare}"


def limit_share(*where: Match, scope: Mapping[str, str] = SCOPE) -> str:
    """Return the used share of each limit; all replicas of the key service report the same value."""
    info = service_metrics
    kept = by_(info.ACCOUNT, info.KEY, info.LIMIT)
    used, most = (select(metric, *where, scope=scope) for metric in (info.LIMIT_USED, info.LIMIT_MAX))
    return f"max{kept} ({used}) / (max{kept} ({most}) > 0)"


def used_up_in(*where: Match) -> str:
    """Return the seconds until each limit is used up at the last hour's pace, for limits whose use is growing."""
    info = service_metrics
    kept = by_(info.ACCOUNT, info.KEY, info.LIMIT, info.UNIT)
    used, most = (f"max{kept} ({select(metric, *where)})" for metric in (info.LIMIT_USED, info.LIMIT_MAX))
    return f"({most} - {used}) / (max{kept} (deriv({select(info.LIMIT_USED, *where)}[1h])) > 0)"


def _has(metric: Metric, attribute: str) -> bool:
    if attribute in {ENV, JOB}:  # the key service's own series do not have the metered service's labels
        return metric in metrics.ALL
    return attribute in metric.attributes


def _check(metric: Metric, attribute: str) -> None:
    if attribute not in {ENV, JOB, "le"} and attribute not in metric.attributes:
        raise QueryError(f"{metric.name} has no {attribute!r}: it has {', '.join(metric.attributes) or 'no labels'}")
