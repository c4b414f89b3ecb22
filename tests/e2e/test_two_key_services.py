"""Two key services on one database behind a load balancer: one is killed and restarted without affecting any call."""

import socket
import threading
import time
from collections import Counter
from contextlib import suppress
from http.client import HTTPConnection

import pytest
from stack import Stack
from test_bursts import APP, COMMAND

from keygauge_keyservice.accounts import plans

RPM = plans.Limit(name="rpm", unit="request", amount=100_000_000, window_s=60)
MONTH = plans.Limit(name="month", unit="request", amount=10_000_000_000, period="month")
QUOTA = plans.Limit(name="quota", unit="request", amount=400, period="month")


class Balancer:
    """A load balancer that uses the ports in turn, and skips those that do not listen."""

    def __init__(self, ports):
        self._ports = ports
        self._server = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._server.getsockname()[1]
        self.taken = Counter()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self._server.close()

    def _accept(self):
        turn = 0
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            turn += 1
            threading.Thread(target=self._serve, args=(near, turn), daemon=True).start()

    def _serve(self, near, turn):
        for number in range(len(self._ports)):
            port = self._ports[(turn + number) % len(self._ports)]
            try:
                far = socket.create_connection(("127.0.0.1", port), 2)
            except OSError:
                continue
            self.taken[port] += 1
            far.settimeout(None)
            back = threading.Thread(target=self._pump, args=(far, near), daemon=True)
            back.start()
            self._pump(near, far)
            back.join()
            far.close()
            break
        near.close()

    def _pump(self, one, other):
        try:
            while data := one.recv(65536):
                other.sendall(data)
        except OSError:
            pass
        for end in (one, other):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class Client(threading.Thread):
    """A client that calls without a pause until stopped, every fifth time with the key of the small quota."""

    def __init__(self, port, tokens):
        super().__init__(daemon=True)
        self.statuses = Counter()
        self.has_ended = threading.Event()
        self._port, self._tokens = port, tokens

    def run(self):
        connection = HTTPConnection("127.0.0.1", self._port, timeout=150)
        while not self.has_ended.is_set():
            for number in range(5):
                place = number == 0
                headers = {"Authorization": f"Bearer {self._tokens[place]}", "Content-Type": "application/json"}
                connection.request("POST", "/chat", b"{}", headers)
                answer = connection.getresponse()
                answer.read()
                self.statuses[place, answer.status] += 1
        connection.close()


@pytest.fixture
def services(database_url, tmp_path):
    """Two key services, each with its own directory."""
    made = [Stack(database_url, tmp_path / name) for name in ("one", "other")]
    for stack in made:
        stack.start_service()
    yield made
    for stack in made:
        stack.stop()


@pytest.mark.timeout(600)
def test_a_killed_key_service_next_to_another_refuses_and_loses_no_call(services, serve, tmp_path, eventually):
    one, other = services
    balancer = Balancer([one.port_service, other.port_service])
    behind = Stack(one.database_url, tmp_path, port_service=balancer.port)
    made = [one.create_key(RPM, MONTH), one.create_key(QUOTA)]
    tokens = [token for _, token in made]
    ports = [serve(COMMAND, {"bursts.py": APP}, behind)[0] for _ in range(2)]
    clients = [Client(ports[number % 2], tokens) for number in range(16)]
    for client in clients:
        client.start()
    time.sleep(3)
    one.service.kill()
    time.sleep(4)
    one.start_service()
    other.service.kill()  # its connections move to the one that was just started
    time.sleep(4)
    statuses = Counter()
    for client in clients:
        client.has_ended.set()
    for client in clients:
        client.join()
        statuses += client.statuses
    assert min(balancer.taken[port] for port in (one.port_service, other.port_service)) > 1
    assert set(statuses) == {(False, 200), (True, 200), (True, 429)}
    assert statuses[True, 200] == QUOTA.amount
    for place, (key, _) in enumerate(made):
        sent = sum(count for (small, _), count in statuses.items() if small == bool(place))
        eventually(lambda key=key: len(one.ledger(key.id)), sent)
        admitted = sum(outcome == "admitted" for _, outcome in one.ledger(key.id))
        assert admitted == statuses[bool(place), 200]
    balancer.close()
