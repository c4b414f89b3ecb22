"""Alerts on KeyGauge itself: silence, backlogs, drift, and parts that are down."""

from __future__ import annotations

from collections.abc import Iterator

from keygauge import service_metrics as service
from keygauge.metrics import BEAT_AGE, EVENTS_DROPPED, KEY, REASON, REQUESTS, SPOOL_AGE, SPOOL_EVENTS, label
from keygauge_dashboards import collector_metrics
from keygauge_dashboards.alerts.alert import COUNT, IN_ENVIRONMENT, SHARE, Alert, of_service, subject
from keygauge_dashboards.promql.queries import (
    ENV,
    EVERYTHING,
    INSTANCE,
    JOB,
    UP,
    by_,
    gained,
    increase,
    occurred,
    or_zero,
    select,
    unlike,
)
from keygauge_dashboards.thresholds import Thresholds
from keygauge_dashboards.uids import HEALTH_PAGE

KEY_SERVICE = "keyservice"  # its job in collector/prometheus.yaml
NOT_IN_LEDGER = "anonymous|invalid"  # calls without a valid key are counted, but not billed


def alerts(thresholds: Thresholds) -> Iterator[Alert]:
    """Return the alerts."""
    yield _instrument_silent(thresholds)
    yield _spool_growing(thresholds)
    yield _events_dropped()
    yield from _ledger_drift(thresholds)
    yield _ledger_unchecked(thresholds)
    yield _collector_dropping()
    yield _key_service_down()


def _instrument_silent(thresholds: Thresholds) -> Alert:
    age = f"max by ({JOB}, {INSTANCE}) ({select(BEAT_AGE, scope=EVERYTHING)}) > {thresholds.beat_age_s:g}"
    series = select(SPOOL_EVENTS, scope=EVERYTHING)  # of every process, even before its first call
    kept = by_(JOB, ENV)
    gone = f"group{kept} (present_over_time({series}[6h])) unless group{kept} ({series})"
    return Alert(
        name="InstrumentSilent",
        severity="ticket",
        expression=f"({age}) or ({gone})",
        hold="5m",
        summary=f"{{{{ $labels.job }}}}{IN_ENVIRONMENT} has gone silent",
        description="{{ with $labels.instance }}{{ . }} cannot reach the key service; after 10 s it refuses calls."
        "{{ else }}It sent metrics within the last 6 hours and sends none now.{{ end }}",
        impact="A process without the key service refuses calls after 10 seconds; one that is gone serves nobody.",
        page=of_service(HEALTH_PAGE),
    )


def _spool_growing(thresholds: Thresholds) -> Alert:
    age = f"max by ({JOB}, {INSTANCE}) ({select(SPOOL_AGE, scope=EVERYTHING)})"
    return Alert(
        name="SpoolGrowing",
        severity="ticket",
        expression=f"{age} > {thresholds.spool_age_s:g}",
        hold="5m",
        summary="{{ $labels.job }} cannot deliver its usage",
        description="The oldest event on {{ $labels.instance }} has waited for "
        "{{ $value | humanizeDuration }}. Nothing is lost while the disk has room; quotas and bills lag behind.",
        impact="Quotas and bills lag behind; when the disk is full, usage is lost.",
        page=subject(HEALTH_PAGE, job=JOB),
    )


def _events_dropped() -> Alert:
    return Alert(
        name="EventsDropped",
        severity="ticket",
        expression=occurred(EVENTS_DROPPED, by=(JOB, REASON), window="10m"),
        hold="1m",
        summary="{{ $labels.job }} is losing usage",
        description=f"{COUNT} calls in 10 minutes are in no quota and no bill ({{{{ $labels.{label(REASON)} }}}}).",
        impact="These calls are not billed and count against no quota.",
        page=subject(HEALTH_PAGE, job=JOB),
    )


def _ledger_drift(thresholds: Thresholds) -> Iterator[Alert]:
    counted = increase(REQUESTS, unlike(KEY, NOT_IN_LEDGER), window="1h", scope=EVERYTHING)
    apart = f"{drift('1h')} > {thresholds.drift_share} and {counted} > {thresholds.drift_requests}"
    # Without data for the whole hour, Prometheus does not know the initial counts of its series.
    known = (
        f"and on () group({select(metric, scope=EVERYTHING)} offset 1h)" for metric in (REQUESTS, service.LEDGER_EVENTS)
    )
    yield Alert(
        name="LedgerDrift",
        severity="ticket",
        expression=f"max by ({service.REASON}) ({select(service.LEDGER_DRIFT_REQUESTS)}) > 0",
        hold="5m",
        summary="The ledger and the replicas disagree",
        description=f"{COUNT} requests of the last day are {{{{ $labels.reason }}}} in the ledger, according to the "
        "processes' own counts.",
        impact="Bills and quotas may be wrong by that many requests.",
        page=subject(HEALTH_PAGE),
        labels={"compared_with": "replicas"},
    )
    yield Alert(
        name="LedgerDrift",
        severity="ticket",
        expression=" ".join((apart, *known)),
        hold="30m",
        summary="The ledger and the metrics disagree",
        description=f"{SHARE} of the last hour's requests are in one and not in the other.",
        impact="Either the bills or the dashboards are wrong.",
        page=subject(HEALTH_PAGE),
        labels={"compared_with": "metrics"},
    )


def _ledger_unchecked(thresholds: Thresholds) -> Alert:
    return Alert(
        name="LedgerUnchecked",
        severity="ticket",
        expression=f"time() - max({select(service.LEDGER_CHECKED)}) > {thresholds.unchecked_s:g}",
        hold="5m",
        summary="The ledger is no longer compared with the replicas",
        description="The last comparison was {{ $value | humanizeDuration }} ago: drift would go unnoticed.",
        impact="Lost or duplicated usage would go unnoticed.",
        page=subject(HEALTH_PAGE),
    )


def drift(window: str) -> str:
    """Return the relative difference between the requests in the metrics and the events accepted by the ledger."""
    counted = gained(REQUESTS, unlike(KEY, NOT_IN_LEDGER), window=window, scope=EVERYTHING)
    taken = gained(service.LEDGER_EVENTS, window=window)
    return f"abs({counted} - ({or_zero(taken)})) / ({counted} > 0)"


def _collector_dropping() -> Alert:
    lost = " or ".join(
        f"{increase(metric, by=(JOB, *metric.attributes), window='10m', scope=EVERYTHING)} > 0"
        for metric in collector_metrics.ALL
    )
    return Alert(
        name="CollectorDropping",
        severity="ticket",
        expression=lost,
        hold="5m",
        summary="The collector drops metrics",
        description=f"{COUNT} points in the last 10 minutes at {{{{ $labels.receiver }}}}{{{{ $labels.exporter }}}}: "
        "check its memory limit, its queue and its backend.",
        impact="Dropped points are missing from dashboards and alerts, not from the ledger.",
        page=subject(HEALTH_PAGE),
    )


def _key_service_down() -> Alert:
    series = f'{UP}{{job="{KEY_SERVICE}"}}'
    return Alert(
        name="KeyServiceDown",
        severity="page",
        expression=f"(sum by ({JOB}) ({series}) == 0) or absent({series})",
        hold="1m",
        summary="No key service is up",
        description="Replicas keep serving for 10 seconds after their last heartbeat, then refuse calls with 503.",
        impact="All calls are refused with 503, and nobody can sign in to the portal.",
        page=subject(HEALTH_PAGE),
    )
