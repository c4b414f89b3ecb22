"""The demo's balance: the totals of clients, ledger and metrics, which must be equal."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from prometheus_client.parser import text_string_to_metric_families

from keygauge import metrics
from keygauge_demo.traffic_counts import TrafficCounts
from keygauge_keyservice.database import Connection

SETTLE_S = 20.0  # for the spool to reach the ledger
PRICED_S = 5.0  # for the price of a model that was first used in the last second
_LOOK_S = 0.2
_NANOUSD = 10**9

_KEY = metrics.label(metrics.KEY)
_TOKEN_TYPE = metrics.label(metrics.TOKEN_TYPE)


@dataclass(frozen=True)
class Summary:
    """The totals of one run's live traffic, in the order in which they are printed."""

    sent: int
    answered: int
    admitted: int
    limited: int
    ledger_events: int
    metric_requests: int
    input_tokens: int
    ledger_input_tokens: int
    metric_input_tokens: int


@dataclass(frozen=True)
class Balance:
    """A summary and other counts.

    `refused` counts answers that refused a key: none, unless someone disabled one in the portal. The costs are those of
    ledger and metrics; the first is None if a price was set during the run, as the two may apply it at different times.
    """

    summary: Summary
    refused: int
    ledger_cost_nanousd: int | None
    metric_cost_nanousd: int

    @property
    def discrepancies(self) -> list[str]:
        """The statements that are not true; empty if all totals agree."""
        it = self.summary
        claims = {
            "every call was answered": it.sent == it.answered,
            "each call of a good key was admitted or limited": it.admitted + it.limited + self.refused == it.answered,
            "the ledger has each call once": it.ledger_events == it.answered,
            "the metrics count each call": it.metric_requests == it.answered,
            "the ledger has the clients' tokens": it.ledger_input_tokens == it.input_tokens,
            "the metrics have the clients' tokens": it.metric_input_tokens == it.input_tokens,
            "the metrics have the ledger's cost": self.ledger_cost_nanousd in {None, self.metric_cost_nanousd},
        }
        return [claim for claim, holds in claims.items() if not holds]


@dataclass(frozen=True)
class Count:
    """Requests, input tokens and cost according to one of the sources."""

    requests: int
    input_tokens: int
    cost_nanousd: int | None = 0  # None: not compared


def balance(counts: TrafficCounts, *, ledger: Count, metric: Count) -> Balance:
    """Combine the totals of clients, ledger and metrics."""
    summary = Summary(
        sent=counts.sent,
        answered=counts.answered,
        admitted=counts.admitted,
        limited=counts.limited,
        ledger_events=ledger.requests,
        metric_requests=metric.requests,
        input_tokens=counts.input_tokens,
        ledger_input_tokens=ledger.input_tokens,
        metric_input_tokens=metric.input_tokens,
    )
    return Balance(summary, counts.refused, ledger.cost_nanousd, metric.cost_nanousd or 0)


def await_ledger(
    connection: Connection, *, key_ids: Sequence[str], since: datetime, requests: int, timeout_s: float = SETTLE_S
) -> Count:
    """Return the ledger's count once it has the requests, or its count at the timeout."""
    deadline = time.monotonic() + timeout_s
    count = count_ledger(connection, key_ids=key_ids, since=since)
    while count.requests < requests and time.monotonic() < deadline:
        time.sleep(_LOOK_S)
        count = count_ledger(connection, key_ids=key_ids, since=since)
    return count


def count_ledger(connection: Connection, *, key_ids: Sequence[str], since: datetime) -> Count:
    """Count some keys' events since a time."""
    row = connection.execute(
        "/* summary.count_ledger */ "
        "SELECT count(*) AS requests, coalesce(sum(input_tokens), 0)::bigint AS input_tokens, "
        "CASE WHEN NOT EXISTS (SELECT FROM price WHERE created_at >= %(since)s) "
        "THEN coalesce(sum(cost_nanousd), 0)::bigint END AS cost_nanousd FROM event "
        "WHERE time >= %(since)s AND key_id = ANY(%(key_ids)s)",
        {"since": since, "key_ids": list(key_ids)},
    ).fetchone()
    return Count(**row) if row else Count(0, 0)


def await_metrics(url: str, *, key_ids: Sequence[str], ledger: Count, timeout_s: float = PRICED_S) -> Count:
    """Return the metrics' count once it has the ledger's cost, or its count at the timeout."""
    deadline = time.monotonic() + timeout_s
    count_metrics(url, key_ids=key_ids)  # new series are 0 at their first collection
    count = count_metrics(url, key_ids=key_ids)
    while ledger.cost_nanousd not in {None, count.cost_nanousd} and time.monotonic() < deadline:
        time.sleep(_LOOK_S)
        count = count_metrics(url, key_ids=key_ids)
    return count


def count_metrics(url: str, *, key_ids: Sequence[str]) -> Count:
    """Count some keys' requests in the API's own metrics, since its process started."""
    with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - the demo's own loopback address
        return read_metrics(answer.read().decode(), key_ids=key_ids)


def read_metrics(text: str, *, key_ids: Sequence[str]) -> Count:
    """Count some keys' requests, input tokens and cost in a metrics page."""
    samples = [
        sample
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels.get(_KEY) in key_ids
    ]
    requests = sum(sample.value for sample in samples if sample.name == metrics.REQUESTS.prometheus_name)
    tokens = sum(
        sample.value
        for sample in samples
        if sample.name == metrics.TOKENS.prometheus_name and sample.labels.get(_TOKEN_TYPE) == "input"
    )
    costs = [round(sample.value * _NANOUSD) for sample in samples if sample.name == metrics.COST.prometheus_name]
    return Count(int(requests), int(tokens), sum(costs))
