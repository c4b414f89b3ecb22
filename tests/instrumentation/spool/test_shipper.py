"""The shipper: what it sends to the key service, and in which order."""

import json
import time

from flask import request, request_started

from keygauge.settings import Settings
from keygauge.spool import reporter as reporter_module
from keygauge.spool.hourly_counts import HourlyCounts
from keygauge.spool.reporter import Reporter
from keygauge.spool.shipper import Shipper
from keygauge.spool.spool import Spool


def test_process_that_always_has_events_to_ship_reports_in_between(service, monkeypatch, tmp_path):
    monkeypatch.setattr(reporter_module, "_INTERVAL_S", 0)
    key, _ = service.key()
    settings = Settings(service_url=service.url, service_token="test-service-token-0123456789", spool_dir=tmp_path)
    spool = Spool(tmp_path, settings.service_address, most_bytes=200_000, on_drop=print)
    totals = HourlyCounts()
    shipper = Shipper(settings, spool, Reporter(settings, spool, totals, replica="f0"), on_drop=print, on_fault=print)
    now_us = time.time_ns() // 1_000
    line = [now_us, key.account_id, key.id, "/a", "GET", 200, None, None, 5, None, 0, 0, None, 0, *[None] * 7, "none"]
    for _ in range(1_000):  # more than a segment holds, and so more than a batch
        spool.append(json.dumps([*line, "admitted", None, None]).encode() + b"\n")
        totals.count(now_us * 1_000, 0, 0)
    paths = []
    with request_started.connected_to(lambda _: paths.append(request.path), service.app):
        shipper.start()
        assert shipper.stop(20)
    spool.close(empty=True)
    assert paths.count("/v1/events") > 1
    assert paths[:4] == ["/v1/events", "/v1/reports", "/v1/events", "/v1/reports"]
