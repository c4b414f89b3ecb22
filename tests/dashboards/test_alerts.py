"""Each alert fires on a case made for it and is silent on one that is nearly bad, as promtool evaluates them."""

import re
from dataclasses import dataclass

import pytest
import yaml

from keygauge import service_metrics as service
from keygauge.metrics import KEY, REQUESTS, STATUS, label
from keygauge_dashboards.alerts import alerts, records
from keygauge_dashboards.files import GENERATED
from keygauge_dashboards.thresholds import Thresholds

RULES = GENERATED / "prometheus/keygauge.rules.yaml"
JOB = "api"


@dataclass(frozen=True)
class Case:
    alert: str
    state: str  # what the case is about
    series: dict[str, str]  # promtool's notation: start+step x times, one step a minute
    at: str
    fires: tuple[dict[str, str], ...] = ()  # the labels of each alert that fires


def requests(status, values, *, key="k1"):
    labels = {"job": JOB, label(KEY): key, label(STATUS): status}
    return {_series(REQUESTS.prometheus_name, labels): values}


def key_info(**labels):
    return {
        _series(service.KEY_INFO.prometheus_name, {"id": "k1", "name": "prod", "account": "a1", **labels}): "1x1000"
    }


def _series(name, labels):
    return name + "{" + ", ".join(f'{key}="{value}"' for key, value in labels.items()) + "}"


LIMITED = {"severity": "ticket", "source": "keygauge", "job": JOB, label(KEY): "k1"}
BURNS = {"source": "keygauge", "job": JOB}
CASES = [
    Case(
        "KeyRateLimited",
        "a tenth limited, its key known",
        requests("200", "0+90x30") | requests("429", "0+10x30") | key_info(),
        "20m",
        ({**LIMITED, "name": "prod", "account": "a1"},),
    ),
    Case(
        "KeyRateLimited",
        "a tenth limited, no key service to name it",
        requests("200", "0+90x30") | requests("429", "0+10x30"),
        "20m",
        ({**LIMITED, "name": "k1"},),
    ),
    Case("KeyRateLimited", "a small share", requests("200", "0+97x30") | requests("429", "0+3x30"), "20m"),
    Case("KeyRateLimited", "all of few", requests("429", "0+1x30"), "20m"),
    Case(
        "ErrorBudgetBurn",
        "a tenth fails for an hour",
        requests("200", "0+90x120") | requests("500", "0+10x120"),
        "70m",
        (
            {**BURNS, "severity": "page", "window": "1h"},
            {**BURNS, "severity": "page", "window": "6h"},
            {**BURNS, "severity": "ticket", "window": "1d"},
        ),
    ),
    Case(
        "ErrorBudgetBurn",
        "one in fifty fails for seven hours",
        requests("200", "0+98x500") | requests("503", "0+2x500"),
        "7h",
        ({**BURNS, "severity": "ticket", "window": "1d"}, {**BURNS, "severity": "ticket", "window": "3d"}),
    ),
    Case(
        "ErrorBudgetBurn",
        "over long ago",
        requests("200", "0+100x600") | requests("500", "0+100x10 1000x590"),
        "9h",
    ),
    Case(
        "ErrorBudgetBurn", "refusals are not our errors", requests("200", "0+1x500") | requests("429", "0+9x500"), "7h"
    ),
    Case("ErrorBudgetBurn", "within the budget", requests("200", "0+998x500") | requests("500", "0+2x500"), "7h"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.alert}: {case.state}")
def test_alert_fires_when_it_should(case, run, root, tmp_path):
    expected = [{"exp_labels": labels, "exp_annotations": _annotations(case, labels)} for labels in case.fires]
    test = {
        "rule_files": [str(root / RULES)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
                "alert_rule_test": [{"eval_time": case.at, "alertname": case.alert, "exp_alerts": expected}],
            }
        ],
    }
    file = tmp_path / "test.yaml"
    file.write_text(yaml.safe_dump(test))
    run("promtool", "test", "rules", file)


def test_every_alert_has_a_firing_and_a_silent_case():
    names = {alert.name for alert in alerts(Thresholds())}
    assert {case.alert for case in CASES if case.fires} == names
    assert {case.alert for case in CASES if not case.fires} == names


def test_rules_are_valid(run, root):
    run("promtool", "check", "rules", root / RULES)


def test_names_of_alerts_are_unique_with_their_variants():
    names = [(alert.name, alert.variant) for alert in alerts(Thresholds())]
    assert len(set(names)) == len(names)


def test_every_recorded_series_is_read():
    read = " ".join(alert.expression for alert in alerts(Thresholds()))
    assert all(record.name in read for record in records(Thresholds()))


def test_alerts_and_the_runbook_name_each_other(root):
    headings = re.findall(r"^## (.+)$", (root / "docs/runbook.md").read_text(), re.MULTILINE)
    assert sorted(headings) == sorted({alert.name for alert in alerts(Thresholds())})


def test_runbook_tells_what_it_means_why_and_what_to_run(root):
    sections = (root / "docs/runbook.md").read_text().split("\n## ")[1:]
    for section in sections:
        assert "**Means:**" in section
        assert "**Likely causes:**" in section
        assert len(re.findall(r"^\$ ", section, re.MULTILINE)) == 3, section.splitlines()[0]


def _annotations(case, labels):
    """Fill in the templates as far as promtool compares them; it wants annotations to be complete."""
    alert = next(
        alert
        for alert in alerts(Thresholds())
        if alert.name == case.alert and alert.variant == labels.get("window", "")
    )
    return {
        "summary": _fill(alert.summary, labels, case),
        "description": _fill(alert.description, labels, case),
        "runbook_url": alert.runbook,
    }


def _fill(template, labels, case):
    text = re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda match: labels.get(match[1], ""), template)
    return text.replace("{{ $value | humanizePercentage }}", "10%" if "tenth" in case.state else "2%")
