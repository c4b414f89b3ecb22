"""Queries of histograms read classic buckets and native histograms, as evaluated by promtool."""

import json
import re

import pytest

from keygauge.metrics import DURATION, KEY, STATUS_CLASS, label
from keygauge_dashboards.promql.histograms import distribution, observations, quantile, share_above
from keygauge_dashboards.promql.queries import ENV, EVERYTHING, JOB, RATE, QueryError, is_

NAME = DURATION.prometheus_name
# 8 of 10 observations are in (4, 8], 2 in (8, 16]: exponential buckets of schema 0 end at powers of two.
NATIVE = "{{schema:0 count:10 sum:70 offset:3 buckets:[8 2]}}"
CLASSIC = {"4.0": 0, "8.0": 8, "10.0": 8, "16.0": 10, "+Inf": 10}


def native(labels):
    return {f"{NAME}{{{labels}}}": f"{{{{schema:0}}}}+{NATIVE}x30"}


def classic(labels):
    buckets = {f'{NAME}_bucket{{le="{bound}",{labels}}}': f"0+{count}x30" for bound, count in CLASSIC.items()}
    return buckets | {f"{NAME}_count{{{labels}}}": "0+10x30"}


@pytest.fixture
def evaluate(run, tmp_path):
    """Return `evaluate(series, {query: samples})`, which compares the results after 20 minutes, one step per minute."""

    def compare(series, expected, run=run):
        checks = [
            {
                "expr": expression.replace(RATE, "5m"),
                "eval_time": "20m",
                "exp_samples": [{"labels": labels, "value": value} for labels, value in samples.items()],
            }
            for expression, samples in expected.items()
        ]
        inputs = [{"series": name, "values": values} for name, values in series.items()]
        test = {"tests": [{"interval": "1m", "input_series": inputs, "promql_expr_test": checks}]}
        (tmp_path / "test.yaml").write_text(json.dumps(test))
        run("promtool", "test", "rules", tmp_path / "test.yaml")

    return compare


def about(expression):
    """Round: promtool 2.42 compares exactly."""
    return f"round({expression}, 0.01)"


def test_classic_buckets_are_read(evaluate):
    failed = observations("increase", DURATION, is_(STATUS_CLASS, "5xx"), by=(JOB, ENV), window="5m")
    labels = f'job="api",{label(STATUS_CLASS)}="5xx"'
    evaluate(
        classic(labels),
        {
            about(quantile(0.5, DURATION, scope=EVERYTHING)): {"{}": 6.5},
            about(share_above(10, DURATION, by=(JOB,), window="5m")): {'{job="api"}': 0.2},
            about(failed): {'{job="api"}': 50},
        },
    )


def test_native_histograms_are_read(evaluate, run_of_3):
    failed = observations("increase", DURATION, is_(STATUS_CLASS, "5xx"), by=(JOB, ENV), window="5m")
    labels = f'job="api",{label(STATUS_CLASS)}="5xx"'
    evaluate(
        native(labels),
        {
            about(quantile(0.5, DURATION, scope=EVERYTHING)): {"{}": 6.17},
            about(share_above(10, DURATION, by=(JOB,), window="5m")): {'{job="api"}': 0.14},
            about(failed): {'{job="api"}': 50},
        },
        run_of_3,
    )


def test_services_of_both_kinds_are_added_up(evaluate, run_of_3):
    every = observations("increase", DURATION, by=(), window="5m")
    by_service = share_above(10, DURATION, by=(JOB,), window="5m")
    evaluate(
        classic('job="a"') | native('job="b"'),
        {about(every): {"{}": 100}, about(by_service): {'{job="a"}': 0.2, '{job="b"}': 0.14}},
        run_of_3,
    )


def test_histograms_of_both_kinds_count_once(evaluate, run_of_3):
    evaluate(
        classic('job="a"') | native('job="a"'),
        {
            about(observations("increase", DURATION, by=(JOB,), window="5m")): {'{job="a"}': 50},
            about(share_above(10, DURATION, by=(JOB,), window="5m")): {'{job="a"}': 0.2},
            about(quantile(0.5, DURATION, scope=EVERYTHING)): {"{}": 6.5},
        },
        run_of_3,
    )


def test_share_is_unknown_without_observations(evaluate, run_of_3):
    still = {f'{NAME}{{job="a"}}': f"{NATIVE}x30"}
    evaluate(still, {share_above(10, DURATION, by=(JOB,), window="5m"): {}}, run_of_3)


def test_heatmap_has_the_buckets_of_either_kind(evaluate, run_of_3):
    """Of both kinds, Grafana would draw the native one, unlike in all other panels."""
    count = f"count({distribution(DURATION, scope=EVERYTHING)})"
    a, b = classic('job="a"'), native('job="b"')
    for series, buckets in ((a, len(CLASSIC)), (b, 1), (a | b, len(CLASSIC))):
        evaluate(series, {count: {"{}": buckets}}, run_of_3)


def test_unknown_label_is_refused():
    with pytest.raises(QueryError, match=re.escape("keygauge.request.duration has no 'keygauge.key.id'")):
        quantile(0.95, DURATION, by=(KEY,))
