import json
import re

import grafana
import promql_parser
import pytest

from keygauge import metrics, service_metrics
from keygauge.metrics import DURATION, KEY, MODEL, REQUESTS, ROUTE, STATUS, TOKENS, label
from keygauge_dashboards import collector_metrics
from keygauge_dashboards.alerts.prometheus import alerts, records
from keygauge_dashboards.dashboards.suite import pages
from keygauge_dashboards.grafana.panels import PROMETHEUS, Prometheus
from keygauge_dashboards.promql import queries
from keygauge_dashboards.promql.queries import ENV, EVERYTHING, JOB, QueryError, is_, rate, ratio, select
from keygauge_dashboards.thresholds import Thresholds

HISTOGRAM_PARTS = ("", "_bucket", "_count", "_sum")
ALERT_LABELS = {
    "alertname",
    "alertstate",
    "severity",
    "source",
    "owner",
    "account",
    "key",
    "id",
    "limit",
    "name",
    JOB,
    ENV,
    label(KEY),
    label(MODEL),
}


def _series():
    """Return every possible series with its labels."""
    known = {
        queries.ALERTS: ALERT_LABELS,
        queries.SINCE: ALERT_LABELS - {"alertstate"},
        queries.UP: {JOB, queries.INSTANCE},
        **{record.name: {JOB, ENV, label(KEY)} for record in records(Thresholds())},
    }
    for metric in metrics.ALL:
        _add(known, metric, {ENV, JOB})
    for metric in service_metrics.ALL:
        _add(known, metric, set())
    for metric in collector_metrics.ALL:
        _add(known, metric, {JOB})
    return known


def _add(known, metric, more):
    labels = {label(attribute) for attribute in metric.attributes} | more | {"instance"}
    if metric.kind == "histogram":
        known.update({f"{metric.prometheus_name}{part}": labels | {"le"} for part in HISTOGRAM_PARTS})  # either kind
    else:
        known[metric.prometheus_name] = labels


def _expressions():
    for page in pages(Thresholds()):
        for view in page.views():
            yield from (target.expression for target in view.targets if isinstance(target, Prometheus))
        for annotation in page.annotations:
            if "expr" in annotation["target"]:
                yield annotation["target"]["expr"]
        for variable in page.variables:
            if variable.get("datasource") == PROMETHEUS:
                yield _inner(variable["query"]["query"])
    for rule in (*records(Thresholds()), *alerts(Thresholds())):
        yield rule.expression


def _inner(query):
    """Return the PromQL of a variable's query."""
    function, inside = re.fullmatch(r"(label_values|query_result)\((.*)\)", query).groups()
    if function == "query_result":
        return inside
    selector, name = inside.rsplit(", ", 1)
    return f"sum by ({name}) ({selector})"


def _parse(expression):
    return promql_parser.parse(expression.replace("$__rate_interval", "5m").replace("$__range", "1h"))


def _nodes(expression):
    found = []
    promql_parser.walk(_parse(expression), found.append)
    return found


@pytest.mark.parametrize("expression", sorted(set(_expressions())))
def test_every_metric_and_label_is_emitted_by_the_code(expression):
    known, nodes = _series(), _nodes(expression)
    selectors = [node for node in nodes if isinstance(node, promql_parser.VectorSelector)]
    assert selectors
    given = set()
    for selector in selectors:
        assert selector.name in known
        given |= known[selector.name]
        assert {matcher.name for matcher in selector.matchers.matchers} <= known[selector.name]
    given |= set(re.findall(r', "(\w+)", "[^"]*", "', expression))  # labels set by label_replace and label_join
    for node in nodes:
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier:
            assert set(node.modifier.labels) <= given


@pytest.mark.parametrize("expression", sorted(set(_expressions())))
def test_counters_are_aggregated(expression):
    """A rate without aggregation has one line per process, and totals that jump when one restarts."""
    assert not re.match(r"\(*(rate|increase)\(", expression)


def test_selection_is_filtered_by_the_variables_of_its_labels():
    assert select(REQUESTS, scope={JOB: "$job", KEY: "$key"}) == (
        'keygauge_requests_total{job=~"$job", keygauge_key_id=~"$key"}'
    )
    assert "keygauge_key_id" not in select(DURATION, part="_bucket")
    assert "job" not in select(service_metrics.LIMIT_USED)
    assert select(REQUESTS, scope=EVERYTHING) == "keygauge_requests_total"


@pytest.mark.parametrize("name", grafana.HOSTILE)
def test_any_name_can_be_selected(name):
    sent = grafana.promql(select(REQUESTS), dict.fromkeys(("env", "job", "key", "endpoint", "model"), name))
    (selector,) = _nodes(sent)
    assert len(selector.matchers.matchers) > 4
    assert all(re.fullmatch(matcher.value, name) for matcher in selector.matchers.matchers)


def test_unknown_label_is_refused():
    with pytest.raises(QueryError, match=re.escape("keygauge.tokens has no 'http.response.status_code'")):
        select(TOKENS, is_(STATUS, "200"))


def test_only_histograms_have_parts():
    with pytest.raises(QueryError, match="counter"):
        select(REQUESTS, part="_bucket")
    with pytest.raises(QueryError, match="histogram"):
        select(DURATION)


def test_rate_keeps_the_given_labels():
    assert rate(TOKENS, by=(MODEL, ROUTE), scope=EVERYTHING) == (
        "sum by (gen_ai_response_model, http_route) (rate(keygauge_tokens_total[$__rate_interval]))"
    )


def test_ratio_is_a_valid_expression():
    assert _parse(ratio("sum(a)", "sum(b)"))


def test_latest_share_is_that_of_now(run, tmp_path):
    """After a pause, an error rate would stay at its last value, which Grafana shows as the latest one."""
    share = queries.share_now(rate(REQUESTS, is_(STATUS, "500"), scope=EVERYTHING), rate(REQUESTS, scope=EVERYTHING))
    failing = {"series": 'keygauge_requests_total{http_response_status_code="500"}', "values": "0+1x30 30x30"}
    expected = [("10m", [{"labels": "{}", "value": 1}]), ("50m", [{"labels": "{}", "value": 0}]), ("2h", [])]
    checks = [
        {"expr": share.replace("$__rate_interval", "5m"), "eval_time": at, "exp_samples": samples}
        for at, samples in expected
    ]
    test = {"tests": [{"interval": "1m", "input_series": [failing], "promql_expr_test": checks}]}
    (tmp_path / "test.yaml").write_text(json.dumps(test))
    run("promtool", "test", "rules", tmp_path / "test.yaml")


def test_runbook_commands_query_existing_metrics(root):
    known = _series()
    runbook = (root / "docs/operate/runbook.md").read_text()
    commands = re.findall(r"query instant \$PROMETHEUS '(.+)'$", runbook, re.MULTILINE)
    assert commands
    for command in commands:
        for node in _nodes(command):
            if isinstance(node, promql_parser.VectorSelector) and node.name:
                assert node.name in known
                assert {matcher.name for matcher in node.matchers.matchers} <= known[node.name]
            if isinstance(node, promql_parser.AggregateExpr) and node.modifier and "__name__" not in command:
                assert set(node.modifier.labels) <= set().union(*known.values())
