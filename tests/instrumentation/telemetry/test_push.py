import os

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import CardinalityLimits, MetricExporter, MetricExportResult

from keygauge.telemetry.push import PushReader


class Kept(MetricExporter):
    def __init__(self):
        super().__init__()
        self.pushed = []

    def export(self, metrics_data, timeout_millis=10_000, **kwargs):
        self.pushed.append(metrics_data)
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis=10_000):
        return True

    def shutdown(self, timeout_millis=30_000, **kwargs):
        pass


def test_only_the_process_that_created_the_reader_pushes(monkeypatch):
    exporter = Kept()
    reader = PushReader(exporter, CardinalityLimits())
    provider = MeterProvider(metric_readers=[reader], shutdown_on_exit=False)
    provider.get_meter("test").create_counter("calls").add(1)
    provider.force_flush()
    assert len(exporter.pushed) == 1
    with monkeypatch.context() as in_child:
        in_child.setattr(os, "getpid", lambda: -1)
        provider.force_flush()
        assert len(exporter.pushed) == 1
    provider.force_flush()
    assert len(exporter.pushed) == 2
    provider.shutdown()
