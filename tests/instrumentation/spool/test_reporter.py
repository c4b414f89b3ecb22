import json

import pytest
from scripted import scripted

from keygauge.settings.settings import Settings
from keygauge.spool.hourly_counts import HourlyCounts
from keygauge.spool.reporter import Reporter
from keygauge.spool.spool import Spool
from keygauge.sync.client import ServiceClient, ServiceError

HOUR_NS = 3600 * 10**9


@pytest.fixture
def totals():
    return HourlyCounts()


@pytest.fixture
def report(tmp_path, totals):
    """Return `report(status)`, which reports and returns the documents that the key service received."""
    settings = Settings(service_url="http://127.0.0.1:1", service_token="t" * 20, spool_dir=tmp_path, host="h")
    spool = Spool(tmp_path, settings.service_address, most_bytes=10_000, on_drop=print)
    reporter = Reporter(settings, spool, totals, replica="f0")

    def report(status=200, *, shipped=False, at_once=True):
        if shipped:
            reporter.note_batch()
        with scripted((status, {})) as service:
            client = ServiceClient(service.url, "t" * 20, timeout_s=100)
            try:
                reporter.report(client, at_once=at_once)
            finally:
                client.close()
        return [json.loads(body) for _, body in service.asked]

    yield report
    spool.close(empty=False)


def test_counts_are_reported_by_hour_and_once(report, totals):
    totals.count(HOUR_NS + 5, 3, 4)
    totals.count(HOUR_NS + 9, 1, 0)
    (told,) = report()
    assert (told["replica"], told["host"], told["written"]) == ("f0", "h", 0)
    assert told["hours"] == [{"hour": 3600, "requests": 2, "input_tokens": 4, "output_tokens": 4}]
    assert report() == []
    (after,) = report(shipped=True)
    assert after["hours"] == []


def test_unanswered_report_is_sent_again(report, totals):
    totals.count(HOUR_NS, 3, 4)
    with pytest.raises(ServiceError):
        report(503)
    assert report()[0]["hours"][0]["requests"] == 1


def test_nothing_is_reported_early_or_to_an_older_key_service(report, totals):
    totals.count(HOUR_NS, 3, 4)
    assert report(at_once=False) == []
    assert len(report(404)) == 1
    totals.count(HOUR_NS, 3, 4)
    assert report() == []
