"""Each alert fires on a case made for it and is silent on a borderline one, as evaluated by promtool."""

import re
from dataclasses import dataclass

import pytest
import yaml

from keygauge import service_metrics as service
from keygauge.metrics import (
    BEAT_AGE,
    COST_MISSING,
    DECISIONS,
    DURATION,
    EVENTS_DROPPED,
    KEY,
    MODEL,
    OUTCOME,
    REQUESTS,
    SPOOL_AGE,
    SPOOL_EVENTS,
    STATUS,
    STATUS_CLASS,
    label,
)
from keygauge_dashboards import collector_metrics
from keygauge_dashboards.alerts.ledger import ledger_alerts
from keygauge_dashboards.alerts.prometheus import alerts, records
from keygauge_dashboards.dashboards.suite import pages
from keygauge_dashboards.generate import GENERATED
from keygauge_dashboards.promql.queries import ALERTS, ENV, UP
from keygauge_dashboards.thresholds import Thresholds

RULES = GENERATED / "prometheus/keygauge.rules.yaml"
DAY_S = 86_400
LOOKBACK_S = 300  # Prometheus' default: older samples are ignored


@dataclass(frozen=True)
class Case:
    alert: str
    state: str  # description of the case
    series: dict[str, str]  # in promtool's notation: first + growth x steps
    at: str
    fires: tuple[dict[str, str], ...] = ()  # the labels of each alert that fires
    step: str = "1m"  # at most LOOKBACK_S if the alert reads a series recorded at the previous step


def requests(status, values, *, key="k1"):
    return one(REQUESTS, values, job="api", **{label(KEY): key, label(STATUS): status})


def answers(status_class, values, **labels):
    labels = {"job": "api", label(STATUS_CLASS): status_class, **labels}
    return {_series(f"{DURATION.prometheus_name}_count", labels): values}


def native(status_class, buckets):
    """Return a native histogram that counts the same in the same buckets at each step."""
    series = _series(DURATION.prometheus_name, {"job": "api", label(STATUS_CLASS): status_class})
    count = sum(map(int, buckets.split()))
    return {series: f"{{{{schema:0}}}}+{{{{schema:0 count:{count} sum:{count} buckets:[{buckets}]}}}}x120"}


def decisions(outcome, values, *, key="k1"):
    return one(DECISIONS, values, job="api", **{label(KEY): key, label(OUTCOME): outcome})


def durations(within, every):
    bucket = {_series(f"{DURATION.prometheus_name}_bucket", {"job": "api", "le": "10"}): within}
    return bucket | {_series(f"{DURATION.prometheus_name}_count", {"job": "api"}): every}


def key_info(steps=1000, *, status="active"):
    return one(service.KEY_INFO, f"1x{steps}", id="k1", name="prod", account="a1", status=status)


def account_info():
    return one(service.KEY_INFO, "1x1000", id="k1", name="prod", account="a1", account_name="Ada")


def limit(used, most, *, reset="0x1000", unit="request", period="month", key=""):
    labels = {"account": "a1", "key": key, "limit": "calls", "unit": unit, "period": period}
    return (
        one(service.LIMIT_USED, used, **labels)
        | one(service.LIMIT_MAX, f"{most}x1000", **labels)
        | one(service.LIMIT_RESET, reset, **labels)
    )


def one(metric, values, **labels):
    return {_series(metric.prometheus_name, labels): values}


def process(values, *, instance="i1", **labels):
    return one(SPOOL_EVENTS, values, job="api", instance=instance, **labels)


def up(instance, values):
    return {_series(UP, {"job": "keyservice", "instance": instance}): values}


def _series(name, labels):
    return name + "{" + ", ".join(f'{key}="{value}"' for key, value in labels.items()) + "}"


JOB = {"job": "api"}
KEYED = {**JOB, label(KEY): "k1"}
NAMED = {**KEYED, "name": "prod", "account": "a1"}
OF_KEY = {"id": "k1", "account": "a1", "name": "prod"}
LIMIT = {"account": "a1", "account_name": "a1", "limit": "calls"}
WINDOWS = {"1h": "page", "6h": "page", "1d": "ticket", "3d": "ticket"}


def burns(*windows):
    return tuple({**JOB, "severity": WINDOWS[window], "window": window} for window in windows)


def ticket(**labels):
    return ({"severity": "ticket", **labels},)


CASES = [
    Case(
        "KeyRateLimited",
        "a tenth limited, its key known",
        requests("200", "0+90x30") | requests("429", "0+10x30") | key_info(),
        "20m",
        ticket(**NAMED),
    ),
    Case(
        "KeyRateLimited",
        "a tenth limited, its key renamed a moment ago",
        requests("200", "0+90x30")
        | requests("429", "0+10x30")
        | key_info()
        | one(service.KEY_INFO, "0.5x1000", id="k1", name="old", account="a1"),
        "20m",
        ticket(**NAMED),
    ),
    Case(
        "KeyRateLimited",
        "a tenth limited, no key service to name it",
        requests("200", "0+90x30") | requests("429", "0+10x30"),
        "20m",
        ticket(**KEYED, name="k1"),
    ),
    Case("KeyRateLimited", "a small share", requests("200", "0+97x30") | requests("429", "0+3x30"), "20m"),
    Case("KeyRateLimited", "all calls with unknown keys", requests("429", "0+100x30", key="invalid"), "20m"),
    Case("KeyRateLimited", "all of few", requests("429", "0+1x30"), "20m"),
    Case(
        "ErrorBudgetBurn",
        "a tenth fails for an hour",
        answers("2xx", "0+90x120") | answers("5xx", "0+10x120"),
        "70m",
        burns("1h", "6h", "1d"),
    ),
    Case(
        "ErrorBudgetBurn",
        "a tenth fails for an hour, in staging only",
        answers("2xx", "0+9000x120", **{ENV: "live"})
        | answers("2xx", "0+90x120", **{ENV: "staging"})
        | answers("5xx", "0+10x120", **{ENV: "staging"}),
        "70m",
        tuple({**labels, ENV: "staging"} for labels in burns("1h", "6h", "1d")),
    ),
    Case(
        "ErrorBudgetBurn",
        "one in fifty fails for seven hours",
        answers("2xx", "0+392x125") | answers("5xx", "0+8x125"),
        "7h",
        burns("1d", "3d"),
        step="4m",
    ),
    Case(
        "ErrorBudgetBurn",
        "over long ago",
        answers("2xx", "0+400x150") | answers("5xx", "0 400 800 1000x147"),
        "9h",
        step="4m",
    ),
    Case("ErrorBudgetBurn", "refusals only", answers("2xx", "0+4x125") | answers("4xx", "0+36x125"), "7h", step="4m"),
    Case(
        "ErrorBudgetBurn",
        "within the budget",
        answers("2xx", "0+3992x125") | answers("5xx", "0+8x125"),
        "7h",
        step="4m",
    ),
    Case(
        "ErrorBudgetBurn",
        "one of few requests fails in a quiet night",
        answers("2xx", "0+0.2x600") | answers("5xx", "0x300 1x300"),
        "304m",
    ),
    Case(
        "ErrorBudgetBurn",
        "every request of a quiet night fails",
        answers("5xx", "0+0.2x600"),
        "304m",
        burns("1h", "6h", "1d", "3d"),
    ),
    Case("LatencyBurn", "one slow answer in a quiet night", durations("5x600", "5x300 6x300"), "304m"),
    Case("LatencyBurn", "four of five are slow", durations("0+20x120", "0+100x120"), "70m", burns("1h", "6h", "1d")),
    Case("LatencyBurn", "one of fifty is slow", durations("0+392x125", "0+400x125"), "7h", step="4m"),
    Case("QuotaHigh", "85 % used", limit("85x30", 100), "10m", ticket(**LIMIT, level="80%")),
    Case(
        "QuotaHigh",
        "85 % used of an account and of a key, both known by name",
        limit("85x30", 100) | limit("85x30", 100, key="k1") | account_info(),
        "10m",
        ticket(**LIMIT | {"account_name": "Ada"}, name="all keys", level="80%")
        + ticket(**LIMIT | {"account_name": "Ada"}, key="k1", name="prod", level="80%"),
    ),
    Case("QuotaHigh", "all used", limit("100x30", 100), "10m", ticket(**LIMIT, level="100%")),
    Case("QuotaHigh", "half used", limit("50x30", 100), "10m", ({"severity": "info", **LIMIT, "level": "50%"},)),
    Case("QuotaHigh", "little used", limit("49x30", 100), "10m"),
    Case("QuotaHigh", "a full rate is no quota", limit("100x30", 100, period=""), "10m"),
    Case("QuotaHigh", "an hourly quota", limit("100x30", 100, period="hour"), "10m"),
    Case("QuotaHigh", "a used-up trial", limit("100x30", 100, period="lifetime"), "10m"),
    Case("QuotaHigh", "money has an alert of its own", limit("100x30", 100, unit="nanousd"), "10m"),
    Case(
        "QuotaExhaustsBeforeReset",
        "rises too fast",
        limit("10+4x125", 1000, reset="100000x125"),
        "7h",
        ticket(**LIMIT),
        step="4m",
    ),
    Case("QuotaExhaustsBeforeReset", "the reset is near", limit("10+4x125", 1000, reset="40000x125"), "7h", step="4m"),
    Case(
        "QuotaExhaustsBeforeReset",
        "was reset just now",
        limit("500+4x100 0+36x22", 1000, reset="24240x100 200000x22"),
        "8h",
        step="4m",
    ),
    Case(
        "QuotaExhaustsBeforeReset",
        "rises too fast, though settled reservations lower it",
        limit(" ".join(str(10 + 4 * step - 6 * (step % 2)) for step in range(126)), 1000, reset="100000x125"),
        "7h",
        ticket(**LIMIT),
        step="4m",
    ),
    Case("CostBudget", "85 % spent", limit("85x30", 100, unit="nanousd"), "10m", ticket(**LIMIT, level="80%")),
    Case("CostBudget", "79 % spent", limit("79x30", 100, unit="nanousd"), "10m"),
    Case(
        "CostForecast",
        "rises too fast",
        limit("10+4x125", 1000, reset="100000x125", unit="nanousd"),
        "7h",
        ticket(**LIMIT),
        step="4m",
    ),
    Case(
        "CostForecast",
        "rises slowly",
        limit("300x125", 1000, reset="100000x125", unit="nanousd"),
        "7h",
        step="4m",
    ),
    Case(
        "ModelUnpriced",
        "the first call",
        process("0x100") | one(COST_MISSING, "_x70 1x60", job="api", **{label(MODEL): "m"}),
        "80m",
        ticket(**JOB, **{label(MODEL): "m"}),
    ),
    Case("ModelUnpriced", "over long ago", one(COST_MISSING, "0+1x9 9x200", job="api", **{label(MODEL): "m"}), "3h"),
    Case(
        "UsageSpike",
        "sixtyfold for an hour",
        requests("200", "0+4x380 1520+240x50") | key_info(),
        "27h",
        ticket(**NAMED),
        step="4m",
    ),
    Case("UsageSpike", "as ever", requests("200", "0+240x450") | key_info(), "27h", step="4m"),
    Case("UsageSpike", "sixtyfold of little", requests("200", "0+0.4x380 152+24x50"), "27h", step="4m"),
    Case(
        "UsageSpike",
        "a nightly batch",
        requests("200", " ".join(f"{n * 3750}+250x14 {n * 3750 + 3750}x344" for n in range(5))),
        f"{(4 * 360 + 14) * 4}m",
        step="4m",
    ),
    Case(
        "UsageSpike",
        "a weekly batch",
        requests("200", "0+250x14 3500x2504 3500+250x40"),
        f"{(2520 + 14) * 4}m",
        step="4m",
    ),
    Case("UsageSpike", "a new key", requests("200", "0+240x50") | key_info(), "2h", step="4m"),
    Case(
        "NewKeyHot",
        "six thousand at once",
        requests("200", "5x320", key="k0") | requests("200", "_x292 0+500x18") | key_info(),
        "1535m",
        ticket(**NAMED),
        step="5m",
    ),
    Case(
        "NewKeyHot",
        "a weekly batch, after a restart",
        requests("200", "5x2400", key="k0") | requests("200", "0+500x20 _x1980 0+500x18"),
        f"{2018 * 5}m",
        step="5m",
    ),
    Case("NewKeyHot", "Prometheus is new, not the key", requests("200", "0+100x90") | key_info(), "75m"),
    Case("NewKeyHot", "a warm one", requests("200", "0+50x90") | key_info(), "75m"),
    Case("NewKeyHot", "an old one", requests("200", "0+1000x200"), "30h", step="10m"),
    Case("RevokedKeyUsed", "once a minute", decisions("revoked", "0+1x30") | key_info(), "20m", ticket(**NAMED)),
    Case(
        "RevokedKeyUsed",
        "once, by a key that was not seen before",
        decisions("admitted", "0+1x60", key="k2") | decisions("revoked", "_x30 1x30") | key_info(),
        "40m",
        ticket(**NAMED),
    ),
    Case(
        "RevokedKeyUsed",
        "once, after a restart, as often as before it",
        decisions("admitted", "0+1x60", key="k2") | decisions("revoked", "1x5 _x25 1x30") | key_info(),
        "40m",
        ticket(**NAMED),
    ),
    Case(
        "RevokedKeyUsed",
        "long before its process was not seen for a while",
        one(DECISIONS, "0+1x90", **{**KEYED, label(KEY): "k2"}, instance="other")
        | decisions("revoked", "0+1x5 5x10 _x30 5x40")
        | key_info(),
        "60m",
    ),
    Case("RevokedKeyUsed", "before Prometheus looked", decisions("revoked", "1x60") | key_info(), "10m"),
    Case("RevokedKeyUsed", "long ago", decisions("revoked", "0+1x5 5x60") | key_info(), "40m"),
    Case("AuthFailureBurst", "fifty a minute", decisions("unknown", "0+50x30", key="invalid"), "10m", ticket(**JOB)),
    Case(
        "AuthFailureBurst",
        "five hundred before the first look at them",
        decisions("admitted", "0+1x60") | decisions("unknown", "_x20 500x30", key="invalid"),
        "23m",
        ticket(**JOB),
    ),
    Case("AuthFailureBurst", "ten a minute", decisions("unknown", "0+10x30", key="invalid"), "10m"),
    Case("AuthFailureBurst", "limited is no failure", decisions("limited", "0+50x30"), "10m"),
    Case(
        "KeyExpiring",
        "in ten days",
        one(service.KEY_EXPIRY, f"{10 * DAY_S}x400", id="k1", account="a1") | key_info(),
        "25h",
        ticket(**OF_KEY, days="14"),
        step="5m",
    ),
    Case(
        "KeyExpiring",
        "in two days",
        one(service.KEY_EXPIRY, f"{2 * DAY_S}x400", id="k1", account="a1") | key_info(),
        "25h",
        ticket(**OF_KEY, days="3"),
        step="5m",
    ),
    Case(
        "KeyExpiring",
        "in twenty",
        one(service.KEY_EXPIRY, f"{20 * DAY_S}x400", id="k1", account="a1") | key_info(),
        "25h",
        step="5m",
    ),
    Case(
        "KeyExpiring",
        "in two days, but disabled",
        one(service.KEY_EXPIRY, f"{2 * DAY_S}x400", id="k1", account="a1") | key_info(status="disabled"),
        "25h",
        step="5m",
    ),
    Case(
        "KeyExpiring",
        "has expired",
        one(service.KEY_EXPIRY, "60x400", id="k1", account="a1") | key_info(),
        "25h",
        step="5m",
    ),
    Case(
        "KeyExpiring",
        "in two days, but made for them an hour ago",
        one(service.KEY_EXPIRY, f"_x290 {3 * DAY_S}x100", id="k1", account="a1")
        | one(service.KEY_INFO, "_x290 1x100", id="k1", name="prod", account="a1", status="active")
        | one(service.KEY_INFO, "1x400", id="k2", name="old", account="a1", status="active"),
        "25h",
        step="5m",
    ),
    Case(
        "KeyUnused",
        "for 61 days",
        one(service.KEY_LAST_USED, "0x300", id="k1", account="a1") | key_info(300),
        "1464h",
        ({"severity": "info", **OF_KEY},),
        step="6h",
    ),
    Case(
        "KeyUnused",
        "for 61 days, but disabled",
        one(service.KEY_LAST_USED, "0x300", id="k1", account="a1") | key_info(300, status="disabled"),
        "1464h",
        step="6h",
    ),
    Case(
        "KeyUnused",
        "for 50 days",
        one(service.KEY_LAST_USED, "0x300", id="k1", account="a1") | key_info(300),
        "1200h",
        step="6h",
    ),
    Case(
        "InstrumentSilent",
        "no key service to beat to",
        one(BEAT_AGE, "45x30", job="api", instance="i1"),
        "10m",
        ticket(**JOB, instance="i1"),
    ),
    Case("InstrumentSilent", "gone", process("0x30 _x60"), "50m", ticket(**JOB)),
    Case(
        "InstrumentSilent",
        "gone, but not in staging",
        process("0x30 _x60", **{ENV: "live"}) | process("0x90", **{ENV: "staging"}),
        "50m",
        ticket(**JOB, **{ENV: "live"}),
    ),
    Case("InstrumentSilent", "still gone", process("0x30 _x400"), "6h", ticket(**JOB)),
    Case("InstrumentSilent", "one beat late", one(BEAT_AGE, "3x30", job="api", instance="i1"), "10m"),
    Case("InstrumentSilent", "a restart", process("0x30 _x2 0x60"), "50m"),
    Case(
        "InstrumentSilent",
        "a restart, and no call since",
        process("0x30") | process("_x31 0x60", instance="i2") | answers("2xx", "0+1x30 _x60"),
        "50m",
    ),
    Case(
        "SpoolGrowing",
        "old events",
        one(SPOOL_AGE, "400x30", job="api", instance="i1"),
        "10m",
        ticket(**JOB, instance="i1"),
    ),
    Case("SpoolGrowing", "young events", one(SPOOL_AGE, "20x30", job="api", instance="i1"), "10m"),
    Case(
        "EventsDropped",
        "a spool is full for the first time, and the counter appears",
        process("0x60") | one(EVENTS_DROPPED, "_x20 500x40", job="api", instance="i1", keygauge_reason="spool_full"),
        "25m",
        ticket(**JOB, keygauge_reason="spool_full"),
    ),
    Case(
        "EventsDropped",
        "more are lost",
        one(EVENTS_DROPPED, "500x20 510x40", job="api", instance="i1", keygauge_reason="disk"),
        "25m",
        ticket(**JOB, keygauge_reason="disk"),
    ),
    Case(
        "EventsDropped",
        "some were lost long ago",
        one(EVENTS_DROPPED, "500x60", job="api", instance="i1", keygauge_reason="disk"),
        "40m",
    ),
    Case(
        "EventsDropped",
        "some were lost long before Prometheus was away",
        process("0x30 _x20 0x30")
        | one(EVENTS_DROPPED, "5x30 _x20 5x30", job="api", instance="i1", keygauge_reason="disk"),
        "54m",
    ),
    Case(
        "EventsDropped",
        "some were lost before Prometheus began",
        process("0x30") | one(EVENTS_DROPPED, "5x30", job="api", instance="i1", keygauge_reason="disk"),
        "5m",
    ),
    Case(
        "LedgerDrift",
        "a tenth is missing",
        requests("200", "0+10x120") | one(service.LEDGER_EVENTS, "0+9x120", job="keyservice"),
        "100m",
        ticket(compared_with="metrics"),
    ),
    Case(
        "LedgerDrift",
        "a replica's metrics are missing",
        requests("200", "0+10x120") | one(service.LEDGER_EVENTS, "0+20x120", job="keyservice"),
        "100m",
        ticket(compared_with="metrics"),
    ),
    Case(
        "LedgerDrift",
        "a process counted three calls that never came",
        one(service.LEDGER_DRIFT_REQUESTS, "0x10 3x60", job="keyservice", instance="a", reason="missing")
        | one(service.LEDGER_DRIFT_REQUESTS, "0x10 3x60", job="keyservice", instance="b", reason="missing")
        | one(service.LEDGER_DRIFT_REQUESTS, "0x70", job="keyservice", instance="a", reason="surplus"),
        "20m",
        ticket(compared_with="replicas", reason="missing"),
    ),
    Case(
        "LedgerDrift",
        "every process agrees",
        one(service.LEDGER_DRIFT_REQUESTS, "0x70", job="keyservice", reason="missing"),
        "20m",
    ),
    Case(
        "LedgerUnchecked",
        "the last check was at the beginning",
        one(service.LEDGER_CHECKED, "0x60", job="keyservice"),
        "20m",
        ticket(),
    ),
    Case("LedgerUnchecked", "a check a minute", one(service.LEDGER_CHECKED, "0+60x60", job="keyservice"), "20m"),
    Case(
        "LedgerDrift",
        "equal, but Prometheus came later than the first requests",
        requests("200", "300+10x120") | one(service.LEDGER_EVENTS, "0x1 310+10x120", job="keyservice"),
        "55m",
    ),
    Case(
        "LedgerDrift",
        "equal, though one key service took over from another",
        requests("200", "0+10x600")
        | one(service.LEDGER_EVENTS, "0+10x400 _x200", job="keyservice", instance="a")
        | one(service.LEDGER_EVENTS, "_x401 10+10x199", job="keyservice", instance="b"),
        "130m",
        step="15s",
    ),
    Case(
        "LedgerDrift",
        "equal, each key called ten times in one go",
        requests("200", "0+10x200")
        | {
            name: values
            for n in range(9)
            for name, values in requests("200", f"_x{60 + 10 * n} 10x140", key=f"n{n}").items()
        }
        | one(service.LEDGER_EVENTS, "0+10x60 610+11x100", job="keyservice"),
        "150m",
    ),
    Case(
        "LedgerDrift",
        "equal, but for calls without a key",
        requests("200", "0+10x120")
        | requests("401", "0+10x120", key="invalid")
        | one(service.LEDGER_EVENTS, "0+10x120", job="keyservice"),
        "100m",
    ),
    Case(
        "CollectorDropping",
        "sending fails",
        one(collector_metrics.SEND_FAILED, "0+5x30", job="collector", exporter="otlp_http"),
        "20m",
        ticket(job="collector", exporter="otlp_http"),
    ),
    Case(
        "CollectorDropping",
        "nothing lost",
        one(collector_metrics.SEND_FAILED, "5x30", job="collector", exporter="otlp_http"),
        "20m",
    ),
    Case(
        "KeyServiceDown",
        "both are down",
        up("a", "1x5 0x30") | up("b", "0x30"),
        "10m",
        ({"severity": "page", "job": "keyservice"},),
    ),
    Case("KeyServiceDown", "nobody is left", {}, "10m", ({"severity": "page", "job": "keyservice"},)),
    Case("KeyServiceDown", "one of two is up", up("a", "1x30") | up("b", "0x30"), "10m"),
]


# Per step, the first bucket counts durations of 0.5 to 1 s, the second of 16 to 32 s.
NATIVE_CASES = [
    Case(
        "ErrorBudgetBurn",
        "a tenth fails",
        native("2xx", "90") | native("5xx", "10"),
        "70m",
        burns("1h", "6h", "1d"),
    ),
    Case("ErrorBudgetBurn", "a tenth is refused", native("2xx", "90") | native("4xx", "10"), "70m"),
    Case("LatencyBurn", "four of five are slow", native("2xx", "20 0 0 0 0 80"), "70m", burns("1h", "6h", "1d")),
    Case("LatencyBurn", "one of fifty is slow", native("2xx", "98 0 0 0 0 2"), "70m"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.alert}: {case.state}")
def test_alert_fires_when_it_should(case, run, root, tmp_path):
    _require(case, run, root, tmp_path)


@pytest.mark.parametrize("case", NATIVE_CASES, ids=lambda case: f"{case.alert}: {case.state}")
def test_alert_reads_native_histograms(case, run_of_3, root, tmp_path):
    _require(case, run_of_3, root, tmp_path)


def _require(case, run, root, tmp_path):
    common = {"alertname": case.alert, "alertstate": "firing", "source": "keygauge", "owner": "api"}
    expected = [{"labels": _series(ALERTS, {**common, **labels}), "value": 1} for labels in case.fires]
    firing = _series(ALERTS, {"alertname": case.alert, "alertstate": "firing"})
    rules = _rules_of(case.alert, root)
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))
    # Prometheus evaluates groups independently, so an alert may be evaluated before the series that it reads.
    alerts_first = [group["name"] for group in reversed(rules["groups"])]
    test = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": case.step,
        "group_eval_order": alerts_first,
        "tests": [
            {
                "interval": case.step,
                "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
                "promql_expr_test": [{"expr": firing, "eval_time": case.at, "exp_samples": expected}],
            }
        ],
    }
    file = tmp_path / "test.yaml"
    file.write_text(yaml.safe_dump(test))
    run("promtool", "test", "rules", file)


def _rules_of(name, root):
    """Return one alert's committed rules and the rules it reads, since promtool evaluates all rules at every step."""
    groups = _groups(root)
    rules = [rule for group in groups for rule in group["rules"]]
    read, before = " ".join(rule["expr"] for rule in rules if rule.get("alert") == name), ""
    while read != before:  # recording rules may read other recorded series
        before = read
        kept = [rule for rule in rules if rule.get("alert") == name or ("record" in rule and rule["record"] in read)]
        read = " ".join(rule["expr"] for rule in kept)
    return {
        "groups": [
            {"name": group["name"], "rules": [rule for rule in group["rules"] if rule in kept]} for group in groups
        ]
    }


def _groups(root):
    return yaml.load((root / RULES).read_text(), yaml.CSafeLoader)["groups"]


def test_every_alert_has_a_firing_and_a_silent_case():
    names = {alert.name for alert in alerts(Thresholds())}
    assert {case.alert for case in CASES if case.fires} == names
    assert {case.alert for case in CASES if not case.fires} == names


def test_messages_only_use_labels_of_the_alert():
    for alert in alerts(Thresholds()):
        given = {name for case in CASES if case.alert == alert.name for labels in case.fires for name in labels}
        used = set(re.findall(r"\$labels\.(\w+)", alert.summary + alert.description + alert.page))
        assert used - given <= {"key", "name", "receiver", ENV}, alert.name  # labels that may be empty


def test_every_alert_states_its_impact_and_links_to_its_subject(root):
    known = {page.uid: {item["name"] for item in page.variables} for page in pages(Thresholds())}
    for rule in _committed(root):
        texts = rule["annotations"]
        assert texts["impact"].endswith(".")
        assert rule["labels"]["owner"] == "api"
        assert texts["runbook_url"].startswith("http://127.0.0.1:3000/")
        grafana, uid, query = re.fullmatch(r"(http://[^/]+)/d/([\w-]+)\?(.+)", texts["dashboard_url"]).groups()
        assert grafana == "http://127.0.0.1:3000"
        assert set(re.findall(r"var-(\w+)=", query)) <= known[uid]


def test_alert_links_work_for_subjects_with_any_name(run, tmp_path, root):
    """Names of models and keys are percent-encoded."""
    series = requests("200", "0+90x30", key="k&1 %") | requests("429", "0+10x30", key="k&1 %")
    rule = next(rule for rule in _committed(root) if rule["alert"] == "KeyRateLimited")
    texts = rule["annotations"]
    page = texts["dashboard_url"].replace("{{ $labels.keygauge_key_id | urlquery }}", "k%261+%25")
    expected = {
        **texts,
        "summary": "Key k&1 % (k&1 %) is hitting its limits",
        "description": texts["description"]
        .replace("{{ $value | humanizePercentage }}", "10%")
        .replace("{{ $labels.job }}", "api"),
        "dashboard_url": page,
    }
    labels = {**rule["labels"], **JOB, label(KEY): "k&1 %", "name": "k&1 %"}
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(_rules_of("KeyRateLimited", root)))
    case = {"eval_time": "20m", "alertname": "KeyRateLimited"}
    test = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "alert_rule_test": [{**case, "exp_alerts": [{"exp_labels": labels, "exp_annotations": expected}]}],
            }
        ],
    }
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(test))
    run("promtool", "test", "rules", tmp_path / "test.yaml")


def _committed(root):
    return [rule for group in _groups(root) for rule in group["rules"] if "alert" in rule]


def test_rules_are_valid(run, root):
    run("promtool", "check", "rules", root / RULES)


def test_recorded_samples_stay_visible_if_two_evaluations_are_missed(root):
    recorded = [group for group in _groups(root) if any("record" in rule for rule in group["rules"])]
    assert len(recorded) > 1
    for group in recorded:
        number, unit = int(group["interval"][:-1]), group["interval"][-1]
        assert 2 * number * {"s": 1, "m": 60}[unit] < LOOKBACK_S, group["name"]


def test_prometheus_and_ledger_alerts_have_different_names():
    assert not {alert.name for alert in alerts(Thresholds())} & {alert.name for alert in ledger_alerts()}


def test_alerts_of_the_same_name_differ_in_a_label():
    seen = [(alert.name, *sorted(alert.labels.items())) for alert in alerts(Thresholds())]
    assert len(set(seen)) == len(seen)


def test_every_recorded_series_is_used():
    read = " ".join(rule.expression for rule in (*alerts(Thresholds()), *records(Thresholds())))
    assert all(record.name in read for record in records(Thresholds()))


def test_alerts_and_runbook_sections_match(root):
    headings = re.findall(r"^## (.+)$", (root / "docs/operate/runbook.md").read_text(), re.MULTILINE)
    assert sorted(headings) == sorted({alert.name for alert in (*alerts(Thresholds()), *ledger_alerts())})


def test_panels_and_dashboards_named_in_the_runbook_exist(root):
    every = pages(Thresholds())
    titles = {view.title for page in every for view in page.views()}
    titles |= {page.title.removeprefix("API keys / ") for page in every} | {"all keys"}
    looks = re.findall(r"^\*\*On the dashboards:\*\*(.+?)\n\n", _runbook(root), re.MULTILINE | re.DOTALL)
    assert len(looks) > 4
    named = {" ".join(name.split()) for look in looks for name in re.findall(r"\*([^*]+)\*", look)}
    assert named <= titles


def _runbook(root):
    return (root / "docs/operate/runbook.md").read_text()


def test_runbook_sections_have_meaning_causes_and_commands(root):
    sections = (root / "docs/operate/runbook.md").read_text().split("\n## ")[1:]
    for section in sections:
        assert "**Means:**" in section
        assert "**Likely causes:**" in section
        assert len(re.findall(r"^\$ ", section, re.MULTILINE)) == 3, section.splitlines()[0]
