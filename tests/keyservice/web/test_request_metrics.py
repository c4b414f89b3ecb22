import pytest
from flask import Flask
from prometheus_client import CollectorRegistry

from keygauge_keyservice.web.request_metrics import RequestMetrics


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def client(registry):
    app = Flask("watched")
    RequestMetrics(registry).watch(app)
    app.add_url_rule("/keys/<key_id>", view_func=lambda key_id: "", endpoint="key", methods=["GET"])
    return app.test_client()


def test_requests_are_counted_and_timed_by_route(registry, client):
    for name in ("one", "two"):
        client.get(f"/keys/{name}")
    labels = {"route": "/keys/<key_id>", "method": "GET", "status": "200"}
    counted = [sample for family in registry.collect() for sample in family.samples]
    assert [one.value for one in counted if one.name.endswith("requests_total")] == [2]
    [requests] = [one.labels for one in counted if one.name.endswith("requests_total")]
    assert sorted(requests.values()) == sorted(labels.values())
    assert [one.value for one in counted if one.name.endswith("duration_seconds_count")] == [2]


def test_unknown_paths_and_methods_add_no_series(registry, client):
    for number in range(3):
        client.get(f"/made-up-{number}")
        client.open("/keys/one", method=f"MADEUP{number}")
    series = [
        one.labels for family in registry.collect() for one in family.samples if one.name.endswith("requests_total")
    ]
    assert len(series) == 2
    assert "made-up" not in str(series).lower()
    assert "MADEUP" not in str(series)
