import os
import socketserver
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from keygauge.cli import main
from keygauge.command_line import doctor
from keygauge.settings.settings import Settings
from keygauge.spool.spool import Spool

TOKEN = "service-token-of-this-test"


class _KeyService(BaseHTTPRequestHandler):
    ready = 200
    answer = 422

    def do_GET(self):
        self._answer(self.ready if self.path == "/readyz" else 404)

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(self.answer if self.headers["Authorization"] == f"Bearer {TOKEN}" else 401)

    def _answer(self, status):
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def service(monkeypatch, tmp_path):
    handler = type("Handler", (_KeyService,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    for name in [name for name in os.environ if name.startswith(("KEYGAUGE_", "OTEL_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("KEYGAUGE_SERVICE_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("KEYGAUGE_SERVICE_TOKEN", TOKEN)
    monkeypatch.setenv("KEYGAUGE_SPOOL_DIR", str(tmp_path / "spool"))
    yield handler
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def report(capsys):
    def report(*, code):
        assert main(["doctor"]) == code
        return capsys.readouterr().out

    return report


@pytest.mark.usefixtures("service")
def test_all_checks_pass(report):
    text = report(code=0)
    assert "FAIL" not in text
    assert text.count("ok ") == 5
    assert TOKEN not in text


@pytest.mark.usefixtures("service")
def test_wrong_token_is_found(report, monkeypatch):
    monkeypatch.setenv("KEYGAUGE_SERVICE_TOKEN", "another-token-of-this-test")
    text = report(code=1)
    assert "FAIL  the key service rejected KEYGAUGE_SERVICE_TOKEN" in text
    assert "another-token" not in text


def test_service_that_is_not_ready_is_found(report, service):
    service.ready = 503
    assert "is not ready (status 503)" in report(code=1)


def test_another_service_is_found(report, service):
    service.answer = 404
    assert "is http://127.0.0.1" in report(code=1)


@pytest.mark.usefixtures("service")
def test_unreachable_service_is_found(report, monkeypatch):
    monkeypatch.setenv("KEYGAUGE_SERVICE_URL", "http://127.0.0.1:1")
    assert "does not answer" in report(code=1)


@pytest.mark.usefixtures("service")
def test_unwritable_spool_is_found(report, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KEYGAUGE_SPOOL_DIR", str(tmp_path / "file" / "spool"))
    assert "KEYGAUGE_SPOOL_DIR" in report(code=1)


@pytest.mark.usefixtures("service")
def test_spools_waiting_for_another_key_service_are_reported(report, tmp_path):
    for address in ["http://127.0.0.1:1"] * 2 + ["", Settings.from_environment().service_address]:
        Spool(tmp_path / "spool", address, most_bytes=1000, on_drop=print).close(empty=False)
    text = report(code=0)
    assert "another key service, http://127.0.0.1:1: 2;" in text
    assert text.count("another key service") == 1
    assert len(list((tmp_path / "spool").glob("*.lock"))) == 4


@pytest.mark.usefixtures("service")
def test_missing_setting_is_named(report, monkeypatch):
    monkeypatch.delenv("KEYGAUGE_SERVICE_URL")
    assert "FAIL  KEYGAUGE_SERVICE_URL" in report(code=1)


@pytest.mark.usefixtures("service")
def test_observe_mode_needs_no_key_service(report, monkeypatch):
    monkeypatch.delenv("KEYGAUGE_SERVICE_URL")
    monkeypatch.setenv("KEYGAUGE_MODE", "observe")
    assert "observed only" in report(code=0)


@pytest.mark.usefixtures("service")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KEYGAUGE_SERVICE_URL", "http://127.0.0.1:abc"),
        ("KEYGAUGE_SERVICE_TOKEN", "sesame\n"),
        ("KEYGAUGE_SPOOL_BYTES", "nan"),
        ("KEYGAUGE_SPOOL_BYTES", "-5"),
    ],
)
def test_wrong_setting_is_named(report, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    text = report(code=1)
    assert text.startswith(f"FAIL  {name}")
    assert "sesame" not in text


@pytest.mark.usefixtures("service")
def test_extra_path_in_the_address_is_named(report, monkeypatch):
    address = os.environ["KEYGAUGE_SERVICE_URL"]
    monkeypatch.setenv("KEYGAUGE_SERVICE_URL", f"{address}/portal")
    assert f"Correct KEYGAUGE_SERVICE_URL, try {address}\n" in report(code=1)


@pytest.mark.usefixtures("service")
@pytest.mark.parametrize(
    ("name", "value", "module", "extra"),
    [
        ("KEYGAUGE_PROMETHEUS", "1", "opentelemetry.exporter.prometheus", "prometheus"),
        ("KEYGAUGE_PROMETHEUS_PORTS", "127.0.0.1:9100-9131", "opentelemetry.exporter.prometheus", "prometheus"),
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "http://127.0.0.1:4318",
            "opentelemetry.exporter.otlp.proto.http.metric_exporter",
            "otlp",
        ),
    ],
)
def test_exporter_that_is_not_installed_is_named(report, monkeypatch, name, value, module, extra):
    monkeypatch.setenv(name, value)
    assert f"installed: {extra}\n" in report(code=0)
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    assert f"is not installed: install keygauge[{extra}]" in report(code=1)


class _Greeter(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.recv(1_000)
        self.request.sendall(b"220 mail.example ready\r\n")


@pytest.mark.usefixtures("service")
def test_port_with_another_protocol_is_found(report, monkeypatch):
    with socketserver.TCPServer(("127.0.0.1", 0), _Greeter) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        monkeypatch.setenv("KEYGAUGE_SERVICE_URL", f"http://127.0.0.1:{server.server_address[1]}")
        text = report(code=1)
        thread.join()
    assert "does not answer in HTTP" in text
    assert "KEYGAUGE_SERVICE_URL" in text


def test_after_restore_shows_since_when_events_are_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("KEYGAUGE_MODE", "observe")
    monkeypatch.setenv("KEYGAUGE_SPOOL_DIR", str(tmp_path))
    monkeypatch.setenv("KEYGAUGE_SERVICE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("KEYGAUGE_SERVICE_TOKEN", "test-service-token-0123456789")
    spool = Spool(tmp_path, "http://127.0.0.1:1", most_bytes=100_000, keep_s=3600, on_drop=print)
    spool.append(b"[1790000000000000,1]\n")
    spool.close(empty=True, epoch="one")
    told = [finding.text for finding in doctor.examine(after_restore=True)]
    assert any("events since 2026-09-21 14:13:20 UTC are kept here, in 1 spool:" in text for text in told)
    assert not any("are kept" in finding.text for finding in doctor.examine())


@pytest.mark.usefixtures("service")
def test_servers_that_rewrite_the_client_address_are_reported(report, monkeypatch):
    assert "note  uvicorn takes the client's address" in report(code=0)
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    assert "FAIL  FORWARDED_ALLOW_IPS is '*'" in report(code=1)


@pytest.mark.usefixtures("service")
def test_misspelled_settings_are_noted(report, monkeypatch):
    monkeypatch.setenv("KEYGAUGE_IMPORTED_KEY", "1")
    assert "note  KEYGAUGE_IMPORTED_KEY is not a setting and has no effect: is it KEYGAUGE_IMPORTED_KEYS?" in report(
        code=0
    )
