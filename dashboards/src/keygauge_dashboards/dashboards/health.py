"""The Health dashboard: is KeyGauge itself healthy, and do ledger and metrics agree?"""

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
    TOKEN_TYPE,
    TOKENS,
    USAGE_MISSING,
    label,
)
from keygauge_dashboards import collector_metrics
from keygauge_dashboards.alerts.self_monitoring import NOT_IN_LEDGER, drift
from keygauge_dashboards.dashboards.charts import legend
from keygauge_dashboards.grafana.base import VALUE, dashboard, ledger, link
from keygauge_dashboards.grafana.panel_types import field, hidden, levels, limits, lines, numbers, stat, table
from keygauge_dashboards.grafana.panels import Json, Page, Prometheus, Section, View
from keygauge_dashboards.promql.histograms import quantile
from keygauge_dashboards.promql.queries import (
    ENV,
    EVERYTHING,
    INSTANCE,
    JOB,
    UP,
    gained,
    is_,
    or_zero,
    rate,
    select,
    unlike,
)
from keygauge_dashboards.thresholds import Thresholds
from keygauge_dashboards.uids import ERRORS_PAGE, HEALTH_PAGE

UID = HEALTH_PAGE
_DIFFERENCE_WIDTHS = {"hour": 165, "counted": 75, "ledger": 75, "waiting": 75, "missing": 75, "surplus": 75}
_DIFFERENCE_WIDTHS |= {"missing tokens": 125, "surplus tokens": 125}

_REPLICAS = """\
/* health.replicas */
SELECT service, host, left(id, 8) AS replica, version, mode, started_at AS started,
    extract(epoch FROM now() - seen_at)::float8 AS "silent for"
FROM grafana.replica
ORDER BY seen_at BETWEEN now() - interval '1 hour' AND now() - interval '10 seconds' DESC, seen_at DESC
LIMIT 200"""

# At least the day that the alert covers, or it would link to an empty table.
_DIFFERENCES = """\
/* health.differences */
SELECT hour, service, host, replica, reported_requests AS counted, requests AS ledger,
    waiting_requests AS waiting, missing_requests AS missing, surplus_requests AS surplus,
    missing_tokens AS "missing tokens", surplus_tokens AS "surplus tokens"
FROM grafana.replica_check
WHERE hour BETWEEN least($__timeFrom()::timestamptz, now() - interval '25 hours') AND $__timeTo()
    AND (waiting_requests > 0 OR missing_requests + surplus_requests > 0
    OR missing_tokens + surplus_tokens > 0)
ORDER BY missing_requests + surplus_requests DESC, hour DESC
LIMIT 200"""

# Whole quarter hours are read from the roll-ups, the ends of the time range from single calls.
_TOTALS = """\
/* health.totals */
WITH whole AS (
    SELECT date_bin('15 minutes', $__timeFrom()::timestamptz + interval '15 minutes', 'epoch') AS first,
        date_bin('15 minutes', $__timeTo()::timestamptz, 'epoch') AS last
), part AS (
    SELECT requests, input_tokens, output_tokens, cost_nanousd
    FROM grafana.rollup CROSS JOIN whole
    WHERE bucket >= first AND bucket < last
        AND half_day > $__timeFrom()::timestamptz - interval '12 hours' AND half_day < $__timeTo()::timestamptz
    UNION ALL
    SELECT CASE outcome WHEN 'part' THEN 0 ELSE 1 END, input_tokens, output_tokens, cost_nanousd
    FROM grafana.event CROSS JOIN whole
    WHERE $__timeFilter(time) AND (time < first OR time >= last)
)
SELECT {sum} AS "ledger"
FROM part"""

_SCOPE = {ENV: "$env", JOB: "$job"}
_SERIES = select(REQUESTS, scope=_SCOPE)
_BY_PROCESS = f"{{{{{JOB}}}}} {{{{{INSTANCE}}}}}"


def health(thresholds: Thresholds) -> Page:
    """Build the dashboard."""
    return dashboard(
        UID,
        "KeyGauge health",
        "Is KeyGauge itself healthy: heartbeats, spools, losses, series? Do the ledger and the metrics agree?",
        [
            Section("Now", [*_ledger_now(thresholds), *_losses()]),
            Section("Processes", _processes(thresholds)),
            Section("Ledger and metrics", [*_totals(), *_ledger()]),
            Section("Series and collector", _series()),
        ],
    )


def _ledger_now(thresholds: Thresholds) -> list[View]:
    differing = f"sum(max by ({service.REASON}) ({select(service.LEDGER_DRIFT_REQUESTS)}))"
    return [
        stat(
            "Replica check",
            "For how many requests of the last day do the processes and the ledger disagree? Should be zero.",
            Prometheus(differing, instant=True),
            unit="short",
            colours=limits(critical=1),
            alerts=("LedgerDrift",),
        ),
        stat(
            "Last replica check",
            "When did the key service last compare the ledger with the processes' own counts? It does so every minute.",
            Prometheus(f"time() - max({select(service.LEDGER_CHECKED)})", instant=True),
            unit="s",
            colours=limits(180, thresholds.unchecked_s),
            alerts=("LedgerUnchecked",),
        ),
        stat(
            "Ledger against metrics",
            "What share of the last hour's requests with a key is missing on one side? Prometheus must "
            "have seen the whole hour.",
            Prometheus(drift("1h"), instant=True),
            unit="percentunit",
            colours=limits(thresholds.drift_share / 2, thresholds.drift_share),
            alerts=("LedgerDrift",),
        ),
        stat(
            "Ledger lag",
            "How old was the newest event when its batch was taken?",
            Prometheus(f"max({select(service.LEDGER_LAG)})", instant=True),
            unit="s",
            colours=limits(30, thresholds.spool_age_s),
        ),
    ]


def _losses() -> list[View]:
    refused = " + ".join(or_zero(gained(metric, scope=EVERYTHING)) for metric in collector_metrics.ALL)
    return [
        _loss(
            "Events dropped",
            "How many calls are missing from quotas and bills? Should be zero.",
            or_zero(gained(EVENTS_DROPPED)),
            alerts=("EventsDropped",),
        ),
        _loss(
            "Internal errors",
            "How many internal errors did the middleware keep from affecting the service? Should be zero.",
            or_zero(gained(FAULTS)),
        ),
        _loss(
            "Collector losses",
            "How many points did the collector refuse, fail to send or fail to queue? Should be zero.",
            refused,
            alerts=("CollectorDropping",),
        ),
        _loss(
            "Targets down",
            "How many targets can Prometheus not reach?",
            or_zero(f"count({UP} == 0)"),
            unit="none",
            alerts=("KeyServiceDown",),
        ),
    ]


def _loss(title: str, question: str, query: str, *, unit: str = "short", alerts: tuple[str, ...] = ()) -> View:
    target = Prometheus(query, instant=True)
    return stat(title, question, target, unit=unit, colours=limits(critical=1), alerts=alerts)


def _processes(thresholds: Thresholds) -> list[View]:
    return [
        lines(
            "Heartbeat age",
            "Which processes have lost the key service? After ten seconds a process refuses calls.",
            [Prometheus(f"max by ({JOB}, {INSTANCE}) ({select(BEAT_AGE)})", _BY_PROCESS)],
            unit="s",
            colours=limits(10, thresholds.beat_age_s),
            width=12,
            alerts=("InstrumentSilent",),
        ),
        lines(
            "Spool age",
            "How long has the oldest event been waiting on each process's disk?",
            [Prometheus(f"max by ({JOB}, {INSTANCE}) ({select(SPOOL_AGE)})", _BY_PROCESS)],
            unit="s",
            colours=limits(60, thresholds.spool_age_s),
            width=12,
            alerts=("SpoolGrowing",),
        ),
        table(
            "Processes",
            "Which processes does the key service know, and when did each last send a heartbeat? Those that went "
            "silent within the last hour are first, whether they crashed or ended.",
            ledger(_REPLICAS),
            width=24,
            height=6,
            paged=True,
            widths={"replica": 85, "version": 70, "mode": 75, "started": 165, "silent for": 80},
            overrides=[
                field("service", links=[link("Errors of this service", ERRORS_PAGE, job=VALUE)]),
                _without_milliseconds("started"),
                levels("silent for", limits(10, thresholds.beat_age_s), unit="s", decimals=0),
            ],
        ),
    ]


def _without_milliseconds(column: str) -> Json:
    """Show whole seconds: Grafana adds milliseconds to times within a minute, and they do not fit."""
    return field(column, unit="dateTimeAsIso")


def _totals() -> list[View]:
    keyed = unlike(KEY, NOT_IN_LEDGER)
    compared = (
        ("Requests", "short", gained(REQUESTS, keyed, scope=EVERYTHING), "requests"),
        ("Input tokens", "short", gained(TOKENS, keyed, is_(TOKEN_TYPE, "input"), scope=EVERYTHING), "input_tokens"),
        ("Output tokens", "short", gained(TOKENS, keyed, is_(TOKEN_TYPE, "output"), scope=EVERYTHING), "output_tokens"),
        ("Cost", "currencyUSD", gained(COST, keyed, scope=EVERYTHING), "cost_nanousd / 1e9"),
    )
    return [
        numbers(
            title,
            "What do the metrics and the ledger have for the last hour, across all keys and services?",
            [Prometheus(counted, "metrics", instant=True), ledger(_TOTALS, sum=f"coalesce(sum({taken}), 0)")],
            unit=unit,
            width=6,
            last="1h",
        )
        for title, unit, counted, taken in compared
    ]


def _ledger() -> list[View]:
    counted = rate(REQUESTS, unlike(KEY, NOT_IN_LEDGER), scope=EVERYTHING)
    return [
        table(
            "Differences by process",
            "Which process lost or duplicated what, and when? Waiting events are on their way; missing ones are not. "
            "At least the last day is shown, as the alert covers it.",
            ledger(_DIFFERENCES),
            width=24,
            height=5,
            widths=_DIFFERENCE_WIDTHS,
            overrides=[
                _without_milliseconds("hour"),
                *(levels(name, limits(critical=1)) for name in ("missing", "surplus")),
                *hidden("replica"),
            ],
            empty_is_fine="all processes agree with the ledger",
            alerts=("LedgerDrift",),
        ),
        lines(
            "Requests/s: metrics and ledger",
            "How many requests with a key do the metrics count, and how many does the ledger take?",
            [Prometheus(counted, "metrics"), Prometheus(rate(service.LEDGER_EVENTS), "ledger")],
            unit="reqps",
            width=12,
        ),
        lines(
            "Ledger batch duration (p95)",
            "How long does the key service take for a batch of events?",
            [Prometheus(quantile(0.95, service.LEDGER_BATCH_DURATION), "p95")],
            unit="s",
            width=12,
        ),
        lines(
            "Unreadable usage/s",
            "How many answers have no usage that could be read, by reason? `no_usage` is normal for other endpoints.",
            [Prometheus(rate(USAGE_MISSING, by=(REASON,), scope=_SCOPE), legend(REASON))],
            unit="reqps",
            width=12,
            empty_is_fine="the usage of all answers was read",
        ),
        lines(
            "Refused events/s",
            "How many calls does the ledger refuse and set aside, by reason? `keygauge ledger aside` lists them.",
            [Prometheus(rate(service.LEDGER_REFUSED, by=(service.REASON,)), legend(service.REASON))],
            unit="reqps",
            width=12,
            empty_is_fine="the ledger accepted all events",
        ),
    ]


def _series() -> list[View]:
    return [
        lines(
            "Series",
            "How many series does the request counter have, and how many values does each label have?",
            [
                Prometheus(f"count by ({JOB}) ({_SERIES})", f"series: {{{{{JOB}}}}}"),
                *(
                    Prometheus(f"count(group by ({label(attribute)}) ({_SERIES}))", what)
                    for what, attribute in (("keys", KEY), ("endpoints", ROUTE), ("models", MODEL))
                ),
            ],
            unit="short",
            width=7,
        ),
        lines(
            "Over series limit/s",
            "How many requests are counted as 'other' because the limit on series was reached?",
            [Prometheus(or_zero(rate(SERIES_FOLDED)), "other")],
            unit="reqps",
            width=5,
        ),
        lines(
            "Targets up",
            "Which targets can Prometheus reach? 1 is up.",
            [Prometheus(f"min by ({JOB}, {INSTANCE}) ({UP})", _BY_PROCESS)],
            unit="none",
            calcs=("min",),
            width=12,
        ),
    ]
