import socket
from urllib.request import urlopen

import pytest
from prometheus_client import CollectorRegistry, Gauge

from keygauge.telemetry import prometheus


@pytest.fixture
def registry():
    registry = CollectorRegistry()
    Gauge("answer", "…", registry=registry).set(42)
    return registry


@pytest.fixture
def started(monkeypatch):
    """Return the list of page servers, which are stopped after the test."""
    servers = []
    start = prometheus.start_http_server

    def note(*arguments):
        servers.append(start(*arguments))

    monkeypatch.setattr(prometheus, "start_http_server", note)
    yield servers
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


def test_page_is_served_on_the_first_free_port(registry, started, caplog):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        first = taken.getsockname()[1]
        if first + 50 > 65535:
            first = 65535 - 50
        port = prometheus.serve(f"127.0.0.1:{first}-{first + 50}", registry)
        assert port is not None
        assert started[0][0].server_port == port
        with urlopen(f"http://127.0.0.1:{port}/metrics") as page:
            assert b"answer 42.0" in page.read()
        assert prometheus.serve(f"{port}-{port}", registry) is None
    assert "No port" in caplog.messages[-1]


@pytest.mark.parametrize(
    "ports",
    ["", "9100", "9100-", "9131-9100", "0-5", "1-70000", "9100-99999", "a-b", ":9100-9101", "1 2:3-4", "1-1002"],
)
def test_invalid_port_range_error_shows_the_format(ports, registry, caplog):
    assert prometheus.serve(ports, registry) is None
    assert "[host:]first-last" in caplog.messages[-1]
