"""A worker of a server that uses `multiprocessing`, in a separate module so that a child can import it."""

import os
import signal
import time

import httpx
from opentelemetry.metrics import set_meter_provider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, PeriodicExportingMetricReader

from keygauge.wsgi import KeyGaugeMiddleware

PATIENCE_S = 100


class SlowExporter(MetricExporter):
    """An exporter that signals the start of an export, and ends it on a signal."""

    def __init__(self, path, began, released):
        super().__init__()
        self.path, self.began, self.released = path, began, released

    def export(self, metrics_data, timeout_millis=0, **_):
        self.began.set()
        self.released.wait(PATIENCE_S)
        self.path.write_text(metrics_data.to_json())
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis=0):
        return True

    def shutdown(self, timeout_millis=0, **_):
        pass


def serve(options, token, path, began, released):
    """Answer one call, then receive SIGTERM."""
    exporter = SlowExporter(path, began, released)
    set_meter_provider(MeterProvider([PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)]))

    def app(_, start_response):
        start_response("200 OK", [])
        return [b"hello"]

    transport = httpx.WSGITransport(KeyGaugeMiddleware(app, **options))
    with httpx.Client(transport=transport, base_url="http://api") as client:
        assert client.get("/hello", headers={"authorization": f"Bearer {token}"}).status_code == 200
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(PATIENCE_S)
