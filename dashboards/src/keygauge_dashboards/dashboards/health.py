"""The Instrument health dashboard: is KeyGauge itself well, and do its two books agree?"""

from __future__ import annotations

from keygauge import service_metrics as service
from keygauge.metrics import (
    BEAT_AGE,
    COST,
    EVENTS_DROPPED,
    FAULTS,
    KEY,
    MODEL,
    REASON,
    REQUESTS,
    ROUTE,
    SERIES_FOLDED,
    SPOOL_AGE,
    SPOOL_EVENTS,
    TOKEN_TYPE,
    TOKENS,
    label,
)
from keygauge_dashboards import collector_metrics
from keygauge_dashboards.alerts.self_monitoring import NOT_IN_LEDGER, drift
from keygauge_dashboards.dashboards.charts import legend
from keygauge_dashboards.grafana.base import frame, ledger
from keygauge_dashboards.grafana.panel_types import levels, limits, lines, numbers, stat, table
from keygauge_dashboards.grafana.panels import Page, Prometheus, Section, View
from keygauge_dashboards.promql.queries import (
    ENV,
    EVERYTHING,
    INSTANCE,
    JOB,
    RATE,
    UP,
    gained,
    is_,
    or_zero,
    quantile,
    rate,
    select,
    unlike,
)
from keygauge_dashboards.thresholds import Thresholds

UID = "keygauge-health"

_REPLICAS = """\
/* health.replicas */
SELECT service, host, id AS replica, version, mode, started_at AS started, seen_at AS seen, now() - seen_at AS silent
FROM grafana.replica
ORDER BY seen_at DESC
LIMIT 200"""

_DIFFERENCES = """\
/* health.differences */
SELECT hour, service, host, replica, reported_requests AS counted, requests AS "in the ledger",
    waiting_requests AS waiting, missing_requests AS missing, surplus_requests AS surplus,
    missing_tokens AS "missing tokens", surplus_tokens AS "surplus tokens"
FROM grafana.spool_balance
WHERE $__timeFilter(hour) AND (waiting_requests > 0 OR missing_requests + surplus_requests > 0
    OR missing_tokens + surplus_tokens > 0)
ORDER BY missing_requests + surplus_requests DESC, hour DESC
LIMIT 200"""

# Whole quarters of an hour from the roll-ups, and the calls at both ends of the time range one by one.
_TOTALS = """\
/* health.totals */
WITH whole AS (
    SELECT date_bin('15 minutes', $__timeFrom()::timestamptz + interval '15 minutes', 'epoch') AS first,
        date_bin('15 minutes', $__timeTo()::timestamptz, 'epoch') AS last
), part AS (
    SELECT requests, input_tokens, output_tokens, cost_nanousd
    FROM grafana.rollup CROSS JOIN whole
    WHERE bucket >= first AND bucket < last AND {picked}
    UNION ALL
    SELECT 1, input_tokens, output_tokens, cost_nanousd
    FROM grafana.event CROSS JOIN whole
    WHERE $__timeFilter(time) AND (time < first OR time >= last) AND {picked}
)
SELECT {sum} AS "by the ledger"
FROM part"""

_OF_KEYS = {KEY: "$key"}  # the ledger knows no job and no environment
_SERIES = select(REQUESTS, scope={ENV: "$env", JOB: "$job"})
_BY_PROCESS = f"{{{{{JOB}}}}} {{{{{INSTANCE}}}}}"


def health(thresholds: Thresholds) -> Page:
    """Make the dashboard."""
    return frame(
        UID,
        "API keys: instrument health",
        "Beats, spools, losses, series, the ledger's lag, and whether ledger and metrics agree.",
        [
            Section("Do the books agree?", _books(thresholds)),
            Section("Processes", _processes(thresholds)),
            Section("Losses and bounds", _losses()),
        ],
    )


def _books(thresholds: Thresholds) -> list[View]:
    return [*_verdicts(thresholds), *_totals(), *_courses()]


def _verdicts(thresholds: Thresholds) -> list[View]:
    differing = f"sum(max by ({service.REASON}) ({select(service.LEDGER_DRIFT_REQUESTS)}))"
    return [
        stat(
            "How far are ledger and replicas apart?",
            "Requests of the last day that a process counted and the ledger lacks, or the reverse; zero is right.",
            Prometheus(differing, instant=True),
            unit="short",
            colours=limits(critical=1),
            width=6,
            alerts=("LedgerDrift",),
        ),
        stat(
            "When was that compared?",
            "Time since the key service last compared the ledger with the processes' own counts, as every minute.",
            Prometheus(f"time() - max({select(service.LEDGER_CHECKED)})"),
            unit="s",
            colours=limits(180, thresholds.unchecked_s),
            width=6,
            alerts=("LedgerUnchecked",),
        ),
        stat(
            "How far are ledger and metrics apart?",
            "Share of the requests with a key in the picked time range that is in one book and not in the other. What "
            "was counted before Prometheus looked for the first time is in the ledger only.",
            Prometheus(drift("$__range"), instant=True),
            unit="percentunit",
            colours=limits(thresholds.drift_share / 2, thresholds.drift_share),
            width=6,
            alerts=("LedgerDrift",),
        ),
        stat(
            "How far behind is the ledger?",
            "Age of the newest event when its batch was taken.",
            Prometheus(f"max({select(service.LEDGER_LAG)})"),
            unit="s",
            colours=limits(30, thresholds.spool_age_s),
            width=6,
        ),
    ]


def _totals() -> list[View]:
    keyed = unlike(KEY, NOT_IN_LEDGER)
    books = (
        ("requests", "short", gained(REQUESTS, keyed, scope=_OF_KEYS), "requests"),
        ("input tokens", "short", gained(TOKENS, keyed, is_(TOKEN_TYPE, "input"), scope=_OF_KEYS), "input_tokens"),
        ("output tokens", "short", gained(TOKENS, keyed, is_(TOKEN_TYPE, "output"), scope=_OF_KEYS), "output_tokens"),
        ("cost", "currencyUSD", gained(COST, keyed, scope=_OF_KEYS), "cost_nanousd / 1e9"),
    )
    return [
        numbers(
            f"Do the books agree on {what}?",
            f"The {what} of the picked keys in the picked time range by the metrics and by the ledger.",
            [
                Prometheus(counted, "by the metrics", instant=True),
                ledger(_TOTALS, sum=f"coalesce(sum({taken}), 0)"),
            ],
            unit=unit,
            width=6,
        )
        for what, unit, counted, taken in books
    ]


def _courses() -> list[View]:
    counted = rate(REQUESTS, unlike(KEY, NOT_IN_LEDGER), scope=EVERYTHING)
    drifts = (("requests", service.LEDGER_DRIFT_REQUESTS), ("tokens", service.LEDGER_DRIFT_TOKENS))
    return [
        lines(
            "When did ledger and replicas differ?",
            "Requests and tokens of the last day that the ledger lacks (missing) or has too many (surplus).",
            [
                Prometheus(f"max by ({service.REASON}) ({select(metric)})", f"{what} {legend(service.REASON)}")
                for what, metric in drifts
            ],
            unit="short",
            calcs=("max", "lastNotNull"),
        ),
        lines(
            "What do the two books count?",
            "Requests a second with a key by the metrics, and events a second taken by the ledger.",
            [Prometheus(counted, "metrics"), Prometheus(rate(service.LEDGER_EVENTS), "ledger")],
            unit="reqps",
        ),
        lines(
            "How long does a batch take?",
            "95th percentile of the time the key service needs for a batch of events.",
            [Prometheus(quantile(0.95, service.LEDGER_BATCH_DURATION), "p95")],
            unit="s",
        ),
        table(
            "Which process lost or doubled what?",
            "Hours of processes whose own count is not the ledger's. What waits is on its way; what is missing is not.",
            ledger(_DIFFERENCES),
            width=24,
            overrides=[levels(name, limits(critical=1)) for name in ("missing", "surplus")],
            empty_is_fine="every process and the ledger agree",
            alerts=("LedgerDrift",),
        ),
    ]


def _processes(thresholds: Thresholds) -> list[View]:
    return [
        lines(
            "Who does not hear the key service?",
            "Time since each process' last beat was answered; from 10 seconds on it refuses calls.",
            [Prometheus(f"max by ({JOB}, {INSTANCE}) ({select(BEAT_AGE)})", _BY_PROCESS)],
            unit="s",
            colours=limits(10, thresholds.beat_age_s),
            alerts=("InstrumentSilent",),
        ),
        lines(
            "How many events wait?",
            "Events on the processes' disks that are not yet in the ledger.",
            [Prometheus(f"max by ({JOB}, {INSTANCE}) ({select(SPOOL_EVENTS)})", _BY_PROCESS)],
            unit="short",
        ),
        lines(
            "How long have they waited?",
            "Age of the oldest event on each process' disk.",
            [Prometheus(f"max by ({JOB}, {INSTANCE}) ({select(SPOOL_AGE)})", _BY_PROCESS)],
            unit="s",
            colours=limits(60, thresholds.spool_age_s),
            alerts=("SpoolGrowing",),
        ),
        table(
            "Which processes beat?", "The processes that the key service knows, newest beat first.", ledger(_REPLICAS)
        ),
        lines(
            "Which parts are up?",
            "Targets that Prometheus reaches: 1 is up.",
            [Prometheus(f"min by ({JOB}) ({UP})", f"{{{{{JOB}}}}}")],
            unit="none",
            calcs=("min", "lastNotNull"),
            width=12,
            alerts=("KeyServiceDown",),
        ),
    ]


def _losses() -> list[View]:
    return [
        lines(
            "What was lost?",
            "Events dropped and faults kept from the host up to each point, since four scrapes before; zero is right.",
            [
                Prometheus(gained(EVENTS_DROPPED, by=(REASON,), window=RATE), f"dropped: {legend(REASON)}"),
                Prometheus(gained(FAULTS, by=(REASON,), window=RATE), f"fault: {legend(REASON)}"),
            ],
            unit="short",
            empty_is_fine="nothing is lost when all is well",
            alerts=("EventsDropped",),
        ),
        lines(
            "How many series are there?",
            "Series of the request counter, how many values its labels have, and requests a second counted as 'other' "
            "because a bound was met.",
            [
                Prometheus(f"count by ({JOB}) ({_SERIES})", f"series: {{{{{JOB}}}}}"),
                *(
                    Prometheus(f"count(group by ({label(attribute)}) ({_SERIES}))", what)
                    for what, attribute in (("keys", KEY), ("endpoints", ROUTE), ("models", MODEL))
                ),
                Prometheus(or_zero(rate(SERIES_FOLDED)), "folded"),
            ],
            unit="short",
        ),
        lines(
            "What does the collector lose?",
            "Points a second refused at the collector's door, not sent or not queued.",
            [
                Prometheus(rate(metric, scope=EVERYTHING), metric.description.lower())
                for metric in collector_metrics.ALL
            ],
            unit="cps",
            empty_is_fine="there is no collector where Prometheus scrapes the services",
            alerts=("CollectorDropping",),
        ),
    ]
