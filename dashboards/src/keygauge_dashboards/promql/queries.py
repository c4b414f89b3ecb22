"""PromQL, built from the metric registry: a metric or label that the code does not emit cannot be asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from keygauge import metrics, service_metrics
from keygauge.metrics import KEY, MODEL, ROUTE, Metric, label

JOB = "job"  # of the metered service; the scrape gives it, or the collector from service.name
INSTANCE = "instance"  # one of its processes
ENV = "deployment_environment_name"  # of the metered service's resource; absent where it says nothing of it
ALERTS = "ALERTS"  # the series Prometheus keeps of its alerts
SINCE = "ALERTS_FOR_STATE"  # … and of when their conditions became true
UP = "up"  # the series Prometheus keeps of its targets
RATE = "$__rate_interval"
RANGE = "$__range"
NO_MODEL = "no model"  # stands for the model of calls that have none
GAP = "1h"  # that a process may not be seen for and still be the same

Part = Literal["", "_bucket", "_count", "_sum"]  # of a histogram

# The dashboard variable that narrows each label, on every metric that has the label.
SCOPE: Mapping[str, str] = {
    ENV: "$env",
    JOB: "$job",
    KEY: "$key",
    ROUTE: "$endpoint",
    MODEL: "$model",
    service_metrics.ACCOUNT: "$account",
    service_metrics.KEY: "$key|",  # empty on the limits of a whole account
}
EVERYTHING: Mapping[str, str] = {}  # for alerts


class QueryError(ValueError):
    """A query asks a metric for a label that it does not have."""


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
    """Match what a regular expression does not."""
    return Match(attribute, "!~", pattern)


def select(metric: Metric, *where: Match, scope: Mapping[str, str] = SCOPE, part: Part = "") -> str:
    """Select a metric's series, narrowed by the variables of the dashboard.

    Raises:
        QueryError: the metric has no such label, or a histogram's part is asked of another kind.
    """
    if bool(part) != (metric.kind == "histogram"):
        raise QueryError(f"{metric.name} is a {metric.kind}: part {part!r} does not fit")
    narrowed = tuple(like(attribute, variable) for attribute, variable in scope.items() if _has(metric, attribute))
    for match in where:
        _check(metric, match.attribute)
    matchers = ", ".join(f'{label(match.attribute)}{match.operator}"{match.value}"' for match in (*narrowed, *where))
    return f"{metric.prometheus_name}{part}{{{matchers}}}" if matchers else f"{metric.prometheus_name}{part}"


def rate(
    metric: Metric,
    *where: Match,
    by: tuple[str, ...] = (),
    window: str = RATE,
    scope: Mapping[str, str] = SCOPE,
    part: Part = "",
) -> str:
    """Ask how many a second, summed over what `by` does not name."""
    return total(metric, f"rate({select(metric, *where, scope=scope, part=part)}[{window}])", by)


def increase(
    metric: Metric, *where: Match, by: tuple[str, ...] = (), window: str = RANGE, scope: Mapping[str, str] = SCOPE
) -> str:
    """Ask how many in a window, summed over what `by` does not name."""
    return total(metric, f"increase({select(metric, *where, scope=scope)}[{window}])", by)


def occurred(metric: Metric, *, by: tuple[str, ...], window: str) -> str:
    """Ask how many in a window if any, of a counter that may have appeared in it, over all services."""
    series = select(metric, scope=EVERYTHING)
    more = increase(metric, by=by, window=window, scope=EVERYTHING)
    return f"({more} > 0) or (sum{by_(*by)} ({series} unless {series} offset {window}) > 0)"


def gained(
    metric: Metric,
    *where: Match,
    by: tuple[str, ...] = (),
    window: str = RANGE,
    scope: Mapping[str, str] = SCOPE,
    part: Part = "",
) -> str:
    """Ask how many in a window, with what series had counted when they first appeared, which `increase` leaves out.

    A counter appears with its first count, so of what happens once (an error of one key) `increase` sees nothing.
    Before Prometheus knows the metric for a whole window this is `increase`: what is older than its memory is not new.
    Nor is a count that goes on from where it was before a gap, in which its whole process was not seen.
    """
    series = select(metric, *where, scope=scope, part=part)
    every = select(metric, scope=EVERYTHING, part=part)
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
    """Write the labels that an aggregation keeps."""
    return f" by ({', '.join(label(attribute) for attribute in attributes)})" if attributes else ""


def quantile(share: float, metric: Metric, *, by: tuple[str, ...] = (), scope: Mapping[str, str] = SCOPE) -> str:
    """Ask for a quantile of a histogram, in the metric's unit."""
    for attribute in by:
        _check(metric, attribute)
    buckets = f"rate({select(metric, scope=scope, part='_bucket')}[{RATE}])"
    return f"histogram_quantile({share}, sum by ({', '.join(map(label, ('le', *by)))}) ({buckets}))"


def ratio(some: str, every: str) -> str:
    """Divide a part by its whole: 0 where the part has no series, nothing where the whole is 0."""
    return f"({some} or {every} * 0) / ({every} > 0)"


def or_zero(expression: str) -> str:
    """Turn the absence of a sum without labels into 0."""
    return f"({expression}) or vector(0)"


def model_named(expression: str) -> str:
    """Name the model of calls that have none, in an expression that keeps MODEL."""
    return f'label_replace({expression}, "{label(MODEL)}", "{NO_MODEL}", "{label(MODEL)}", "")'


def named(expression: str, *on: str) -> str:
    """Add a key's `name` and `account` to an expression that keeps KEY; the id where the key service does not tell."""
    info = service_metrics
    source = f'label_replace({info.KEY_INFO.prometheus_name}, "{label(KEY)}", "$1", "{info.ID}", "(.+)")'
    # One name each, also while replicas of the key service tell an old and a new one.
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
    """Ask which share of each limit is used; replicas of the key service all tell the same."""
    info = service_metrics
    kept = by_(info.ACCOUNT, info.KEY, info.LIMIT)
    used, most = (select(metric, *where, scope=scope) for metric in (info.LIMIT_USED, info.LIMIT_MAX))
    return f"max{kept} ({used}) / (max{kept} ({most}) > 0)"


def used_up_in(*where: Match) -> str:
    """Ask in how many seconds each limit is used up if use goes on as in the last hour; those that grow only."""
    info = service_metrics
    kept = by_(info.ACCOUNT, info.KEY, info.LIMIT, info.UNIT)
    used, most = (f"max{kept} ({select(metric, *where)})" for metric in (info.LIMIT_USED, info.LIMIT_MAX))
    return f"({most} - {used}) / (max{kept} (deriv({select(info.LIMIT_USED, *where)}[1h])) > 0)"


def _has(metric: Metric, attribute: str) -> bool:
    if attribute in {ENV, JOB}:  # the key service's own series are not the metered service's
        return metric in metrics.ALL
    return attribute in metric.attributes


def _check(metric: Metric, attribute: str) -> None:
    if attribute not in {ENV, JOB, "le"} and attribute not in metric.attributes:
        raise QueryError(f"{metric.name} has no {attribute!r}: it has {', '.join(metric.attributes) or 'no labels'}")
