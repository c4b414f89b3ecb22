import json
import os
import subprocess
import sys

import pytest

SCRIPT = """
import json
from opentelemetry.metrics import set_meter_provider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from keygauge.telemetry import process_metrics

class Runtime:
    def __init__(self, heartbeat_age_s, spool_events, spool_age_s):
        self.heartbeat_age_s = lambda: heartbeat_age_s
        self.spool_events, self.spool_age_s = lambda: spool_events, lambda: spool_age_s

def read():
    parts = reader.get_metrics_data().resource_metrics[0].scope_metrics
    gauges = (metric for part in parts for metric in part.metrics if {"beat", "spool"} & {*metric.name.split(".")})
    return {metric.name: [point.value for point in metric.data.data_points] for metric in gauges}

reader = InMemoryMetricReader()
set_meter_provider(MeterProvider([reader]))
aggregator = process_metrics.aggregator()
runtimes = [Runtime(None, 3, 7.0), Runtime(2.0, 4, 1.0), Runtime(5.0, 0, 0.0)]
for runtime in runtimes:
    process_metrics.runtimes.add(runtime)
told = [process_metrics.aggregator() is aggregator, read()]
process_metrics.flush()
told += [aggregator.is_ending]
process_metrics.forget()
told += [process_metrics.aggregator() is aggregator, read()]
print(json.dumps(told))
"""


def test_runtimes_share_one_aggregator_and_a_child_process_resets_it():
    ran = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    is_one, gauges, is_ending, is_kept, left = json.loads(ran.stdout)
    assert is_one
    assert gauges == {"keygauge.beat.age": [5.0], "keygauge.spool.events": [7], "keygauge.spool.age": [7.0]}
    assert is_ending  # the last counts are pushed in full
    assert is_kept  # the host's provider reads this one
    assert left == {"keygauge.spool.events": [0], "keygauge.spool.age": [0.0]}


@pytest.mark.parametrize(
    ("variable", "value"), [("OTEL_METRIC_EXPORT_INTERVAL", "0"), ("OTEL_METRICS_EXEMPLAR_FILTER", "some")]
)
def test_value_that_opentelemetry_refuses_is_logged_and_breaks_nothing(variable, value):
    script = "from keygauge.telemetry import process_metrics\nprocess_metrics.aggregator()"
    environ = os.environ | {"OTEL_METRICS_EXPORTER": "otlp", variable: value}
    ran = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=True)
    assert "KeyGauge's metrics are not exported" in ran.stderr
