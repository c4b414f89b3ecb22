import json
import os
import select
import signal
import socket
import time
from http.client import HTTPConnection
from pathlib import Path
from threading import Event, Thread
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest
from ports import free_port
from werkzeug.test import Client

from keygauge.cli import main
from keygauge.wsgi import KeyGaugeMiddleware

HALF_A_HEAD = b"GET /healthz HTTP/1.1\r\nHost: x"
HALF_A_BODY = b"POST /v1/heartbeat HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"


def read(url):
    with urlopen(url, timeout=1000) as answer:
        return answer.read().decode()


def test_serve_migrates_responds_and_exits_cleanly(serve, tmp_path):
    process, url = serve()
    assert "3.1.0" in read(f"{url}/v1/openapi.json")
    log = ""
    while f"Portal:        {url}\n" not in log:  # printed when all workers are ready
        log += process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    assert process.wait(100) == 0
    log += process.stderr.read()
    token = (tmp_path / "admin_token").read_text()
    assert token not in log
    assert str(tmp_path / "admin_token") in log
    assert (tmp_path / "service_token").read_text() not in log


def test_admin_token_is_shown_on_request(serve, tmp_path):
    process, _ = serve("--show-admin-token")
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    assert (tmp_path / "admin_token").read_text() in process.stderr.read()


def test_metrics_are_summed_over_workers(serve, tmp_path):
    _, url = serve("--workers", "2", "--threads", "2")
    for _ in range(20):
        read(f"{url}/healthz")
    line = next(
        line
        for line in read(metrics(url, tmp_path)).splitlines()
        if line.startswith("keygauge_service_requests_total") and "/healthz" in line
    )
    assert float(line.split()[-1]) == 20


@pytest.mark.parametrize("sent", [b"", HALF_A_HEAD, HALF_A_BODY], ids=["nothing", "half a head", "half a body"])
def test_silent_clients_hold_no_thread(serve, sent):
    _, url = serve("--threads", "2")
    clients = [socket.create_connection(address(url)) for _ in range(40)]
    for client in clients:
        client.sendall(sent)
    assert "ok" in read(f"{url}/healthz")
    assert not any(is_given_up(client) for client in clients)  # none was disconnected to make room
    for client in clients:
        client.close()


def test_reload_on_sighup_fails_no_request(serve):
    process, url = serve()
    before = workers_of(process.pid)
    callers = [Caller(url) for _ in range(4)]
    for _ in range(2):
        process.send_signal(signal.SIGHUP)
        after = wait_for_other_workers(process.pid, before)
        before = after
    counts = [caller.stop() for caller in callers]
    assert all(count > 50 for count in counts), counts
    assert [caller.failures for caller in callers] == [[]] * 4
    assert process.poll() is None


def test_reload_on_sighup_fails_no_metered_call(serve, tmp_path, caplog):
    process, url = serve()
    token = make_key(url, (tmp_path / "admin_token").read_text())
    callers = [MeteredCaller(url, (tmp_path / "service_token").read_text(), token, tmp_path / name) for name in "ab"]
    before = workers_of(process.pid)
    process.send_signal(signal.SIGHUP)
    wait_for_other_workers(process.pid, before)
    statuses = [caller.stop() for caller in callers]
    assert all(len(seen) > 5 and set(seen) == {200} for seen in statuses), statuses
    away = [record.getMessage() for record in caplog.records if "is away" in record.getMessage()]
    assert not [message for message in away if "timed out" not in message]  # a busy machine may time out


def test_dead_workers_are_replaced(serve):
    process, url = serve()
    assert "password" in read(f"{url}/sign-in")  # all workers are ready: one that dies earlier fails the start
    workers = workers_of(process.pid)
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    wait_for_other_workers(process.pid, workers)
    assert "ok" in read(f"{url}/healthz")
    assert "password" in read(f"{url}/sign-in")


def test_replicas_can_have_a_separate_address(serve):
    private = f"127.0.0.1:{free_port()}"
    _, url = serve("--replica-address", private)
    assert status(f"{url}/sign-in") == 200
    assert status(f"http://{private}/sign-in") == 404
    assert status(f"{url}/v1/heartbeat", b"{}") == 404
    assert status(f"http://{private}/v1/heartbeat", b"{}") == 401
    assert status(f"http://{private}/healthz") == 200


def test_metrics_require_a_token(serve, tmp_path):
    _, url = serve()
    assert status(f"{url}/metrics") == 401
    assert status(metrics(url, tmp_path)) == 200


def test_worker_that_cannot_start_ends_the_command(serve, monkeypatch):
    monkeypatch.setenv("KEYGAUGE_ADMIN_TOKEN", "short")
    with pytest.raises(AssertionError, match="KEYGAUGE_ADMIN_TOKEN"):
        serve()


def test_port_in_use_is_reported_before_anything_is_created(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KEYGAUGE_DATA_DIR", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "--port", str(port)]) == 1
    assert capsys.readouterr().err == (
        f"keygauge: port {port} of 127.0.0.1 is in use: stop the process that listens there, "
        "or choose another port with --port\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_address_of_another_machine_is_rejected(capsys):
    assert main(["serve", "--host", "192.0.2.1"]) == 1
    assert "cannot be opened" in capsys.readouterr().err


class Caller:
    """A client that sends requests in a loop, on one connection while the server keeps it open."""

    def __init__(self, url):
        self.failures = []
        self.answers = 0
        self._url = url
        self._stop = Event()
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self):
        self._stop.set()
        self._thread.join()
        return self.answers

    def _run(self):
        connection = HTTPConnection(*address(self._url), timeout=100)
        while not self._stop.is_set():
            try:
                connection.request("GET", "/healthz")
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    self.failures.append(answer.status)
            except OSError as error:
                self.failures.append(repr(error))
                connection.close()
            self.answers += 1
            time.sleep(0.005)
        connection.close()


class MeteredCaller:
    """A metered service with a client that stays below its limit, which is so small that each call requests units."""

    def __init__(self, url, service_token, token, directory):
        self.statuses = []
        self._app = KeyGaugeMiddleware(
            hello, service_url=url, service_token=service_token, spool_dir=directory, wait_s=10.0
        )
        self._token = token
        self._stop = Event()
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self):
        self._stop.set()
        self._thread.join()
        self._app._process.stop()
        return self.statuses

    def _run(self):
        client = Client(self._app)
        while not self._stop.is_set() or len(self.statuses) < 10:
            self.statuses.append(client.get("/", headers={"X-API-Key": self._token}).status_code)
            time.sleep(0.12)  # at most 8 calls per second for each of two callers; the limit is 19


def hello(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


def make_key(url, admin_token):
    """Create a key whose limit is so small that units are granted call by call, and return its token."""

    def post(path, body):
        headers = {"Authorization": f"Bearer {admin_token}", "Content-Type": "application/json"}
        with urlopen(Request(f"{url}/v1/{path}", json.dumps(body).encode(), headers), timeout=100) as answer:
            return json.load(answer)

    limit = {"name": "rps", "unit": "request", "amount": 19, "window_s": 1}
    post("plans", {"id": "small", "name": "Small", "limits": [limit]})
    account = post("accounts", {"name": "Acme", "plan": "small"})["id"]
    return post(f"accounts/{account}/keys", {"name": "prod"})["token"]


def metrics(url, directory):
    return Request(f"{url}/metrics", headers={"Authorization": f"Bearer {(directory / 'service_token').read_text()}"})


def status(request, body=None):
    try:
        with urlopen(request, body, timeout=60) as answer:
            return answer.status
    except HTTPError as error:
        return error.code


def address(url):
    parts = urlsplit(url)
    return parts.hostname, parts.port


def is_given_up(client):
    """Return whether the server has answered the client or closed its connection."""
    return select.select([client], [], [], 0)[0] != []


def workers_of(pid):
    return sorted(int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


def wait_for_other_workers(pid, before):
    until = time.monotonic() + 150
    while (now := workers_of(pid)) == before or set(now) & set(before) or len(now) != len(before):
        assert time.monotonic() < until
        time.sleep(0.05)
    return now
