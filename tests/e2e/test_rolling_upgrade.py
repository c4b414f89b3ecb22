"""A rolling upgrade from the last release under traffic, in either order: no call fails, and none is lost.

The earlier version runs from its own source, with the libraries of this one.
"""

import io
import os
import subprocess
import sys
import tarfile
import threading
import time
from collections import Counter
from http.client import HTTPConnection, RemoteDisconnected
from pathlib import Path

import pytest
from ports import free_ports
from serving import terminate
from stack import Stack
from test_bursts import APP, COMMAND, MONTH, RPM, TPM
from test_two_key_services import Balancer

from keygauge_keyservice.accounts import plans

ROOT = Path(__file__).parents[2]
SOURCES = ("instrumentation/src", "keyservice/src")
MIGRATIONS = "keyservice/src/keygauge_keyservice/migrations"
QUOTA = plans.Limit(name="quota", unit="request", amount=300, period="month")
SLOTS = plans.Limit(name="slots", unit="concurrent", amount=1000)
ORDERS = {"key services first": ("service", "service", "replica", "replica")}
ORDERS["replicas first"] = ORDERS["key services first"][::-1]
pytestmark = pytest.mark.timeout(600)


def git(*arguments):
    return subprocess.run(["git", "-C", ROOT, *arguments], check=True, capture_output=True).stdout


def earlier_version():
    """Return the last release; before the first, the last commit that changed the tables."""
    if tags := git("tag", "--merged", "HEAD", "--sort=-creatordate", "v*").split():
        return tags[0].decode()
    return git("log", "-1", "--format=%H", "--", MIGRATIONS).decode().strip()


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    """Return the value of PYTHONPATH with which programs are of the earlier version."""
    directory = tmp_path_factory.mktemp("earlier")
    try:
        archive = git("archive", earlier_version(), *SOURCES)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"no earlier version is here: {error}")
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(directory, filter="data")
    paths = os.pathsep.join(str(directory / source) for source in SOURCES)
    code = (
        "import keygauge.asgi, keygauge_keyservice.app; print(keygauge.asgi.__file__, keygauge_keyservice.app.__file__)"
    )
    found = subprocess.check_output([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": paths}, text=True)
    assert found.count(str(directory)) == 2
    return paths


class Client(threading.Thread):
    """A client that sends each call over a new connection until it is stopped."""

    def __init__(self, port, token):
        super().__init__(daemon=True)
        self.statuses = Counter()
        self.has_ended = threading.Event()
        self._port, self._token = port, token

    def run(self):
        while not self.has_ended.is_set():
            if status := self._call():
                self.statuses[status] += 1

    def _call(self):
        """Return the status, or None if a replica that ends did not take the connection."""
        connection = HTTPConnection("127.0.0.1", self._port, timeout=150)
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        try:
            connection.request("POST", "/chat", b'{"model": "gpt-4o"}', headers)
            answer = connection.getresponse()
            answer.read()
        except (ConnectionError, RemoteDisconnected):
            return None
        finally:
            connection.close()
        return answer.status


class Deployment:
    """Two key services and two replicas, each pair behind a load balancer, under traffic."""

    def __init__(self, database_url, servers, directory, earlier):
        self._servers, self._earlier = servers, earlier
        self.services = [Stack(database_url, directory / name) for name in ("one", "other")]
        self._before_services = Balancer([service.port_service for service in self.services])
        self._behind = Stack(database_url, directory, port_service=self._before_services.port)
        self._ports = free_ports(2)
        self._before_replicas = Balancer(self._ports)
        self._replicas = [None, None]
        self._clients = []
        self.upgraded = Counter()

    def start(self):
        for number in range(2):
            self._start("service", number, self._earlier)
        for number in range(2):
            self._start("replica", number, self._earlier)

    def call(self, tokens):
        self._clients = [Client(self._before_replicas.port, token) for token in tokens]
        for client in self._clients:
            client.start()

    def upgrade(self, part):
        number = self.upgraded[part]
        if part == "service":
            self.services[number].service.stop()
        else:
            terminate(self._replicas[number])
        self._start(part, number, "")
        self.upgraded[part] += 1

    def _start(self, part, number, path):
        if part == "service":
            self.services[number].start_service(PYTHONPATH=path)
        else:
            options = {"port": self._ports[number], "path": [part for part in path.split(os.pathsep) if part]}
            self._replicas[number] = self._servers.start(COMMAND, {"bursts.py": APP}, self._behind, **options)

    def statuses(self):
        """Stop the clients; return the statuses of each one's calls."""
        for client in self._clients:
            client.has_ended.set()
        for client in self._clients:
            client.join()
        return [client.statuses for client in self._clients]

    def stop(self):
        self.statuses()
        for balancer in (self._before_replicas, self._before_services):
            balancer.close()
        for service in self.services:
            service.stop()


@pytest.fixture
def deployment(database_url, servers, tmp_path, earlier):
    deployment = Deployment(database_url, servers, tmp_path, earlier)
    yield deployment
    servers.stop()
    deployment.stop()


@pytest.mark.parametrize("order", ORDERS)
def test_no_call_fails_or_is_lost(deployment, order, eventually):
    deployment.start()
    ledger = deployment.services[0].ledger
    made = [deployment.services[0].create_key(*limits) for limits in ((RPM, MONTH, TPM, SLOTS), (QUOTA,))]
    clients = [made[0]] * 6 + [made[1]] * 2
    deployment.call([token for _, token in clients])
    for part in ORDERS[order]:
        time.sleep(3)
        deployment.upgrade(part)
    time.sleep(3)
    statuses = deployment.statuses()
    busy, small = sum(statuses[:6], Counter()), sum(statuses[6:], Counter())
    assert set(busy) == {200}
    assert set(small) == {200, 429}
    assert small[200] == QUOTA.amount
    for (key, _), sent in zip(made, (busy, small), strict=True):
        eventually(lambda key=key: len(ledger(key.id)), sent.total())
        assert Counter(outcome for _, outcome in ledger(key.id))["admitted"] == sent[200]
