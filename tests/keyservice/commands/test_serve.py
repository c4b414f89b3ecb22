import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from keygauge.cli import main


@pytest.fixture
def serve(empty_database_url, tmp_path):
    """Start `keygauge serve`; it ends with the test."""
    started = []

    def serve(*arguments):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, "-m", "keygauge.cli", "serve", "--port", str(port), *arguments],
            env=os.environ | {"KEYGAUGE_DATABASE_URL": empty_database_url, "KEYGAUGE_DATA_DIR": str(tmp_path)},
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        url = f"http://127.0.0.1:{port}"
        for _ in range(300):
            try:
                read(f"{url}/readyz")
            except OSError:
                assert process.poll() is None, process.stderr.read()
                time.sleep(0.1)
            else:
                return process, url
        raise TimeoutError("the key service does not answer")

    yield serve
    for process in started:
        process.kill()
        process.wait()
        process.stderr.close()


def read(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


def test_it_migrates_serves_and_ends_cleanly(serve, tmp_path):
    process, url = serve()
    assert "3.1.0" in read(f"{url}/v1/openapi.json")
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    log = process.stderr.read()
    token = (tmp_path / "admin_token").read_text()
    assert log.count(token) == 1
    assert (tmp_path / "service_token").read_text() not in log


def test_many_workers_show_their_sum(serve):
    _, url = serve("--workers", "2", "--threads", "2")
    for _ in range(20):
        read(f"{url}/healthz")
    line = next(
        line
        for line in read(f"{url}/metrics").splitlines()
        if line.startswith("keygauge_service_requests_total") and "/healthz" in line
    )
    assert float(line.split()[-1]) == 20


def test_a_taken_port_is_told_at_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KEYGAUGE_DATA_DIR", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "--port", str(port)]) == 1
    assert capsys.readouterr().err == (
        f"keygauge: port {port} of 127.0.0.1 is taken: end what listens there, or give another with --port\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_an_address_of_another_machine_is_refused(capsys):
    assert main(["serve", "--host", "192.0.2.1"]) == 1
    assert "cannot be listened at" in capsys.readouterr().err
