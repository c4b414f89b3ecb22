"""A limit of concurrent requests per tag on real servers that are killed: no tag ever has more calls than slots."""

import random
import time
from collections import Counter
from http.client import HTTPConnection, HTTPException
from threading import Event, Thread

import pytest

from keygauge.clock import SECOND, now_ns
from keygauge_keyservice.accounts.plans import Limit

APP = """
import asyncio
import os
import random

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from keygauge.asgi import KeyGaugeMiddleware
from keygauge.clock import now_ns

file = os.open(f"calls.{os.getpid()}", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def note(request, change):
    os.write(file, f"{request.headers.get('x-end-user', '-')} {change} {now_ns()}\\n".encode())


async def work(request):
    note(request, 1)
    try:
        await asyncio.sleep(random.uniform(0.02, 0.3))
    finally:
        note(request, -1)
    return PlainTextResponse("done")


app = KeyGaugeMiddleware(Starlette(routes=[Route("/work", work)]))
"""
COMMAND = ["uvicorn", "slots:app", "--port", "{port}"]
TAGS = ("ann", "bob", None)
CLIENTS = 4  # per tag
KILLS = 4


class Clients:
    """Clients that call in a loop, using whichever servers are running."""

    def __init__(self, token):
        self.token, self.ports, self.statuses, self._end = token, [], Counter(), Event()
        self._threads = [Thread(target=self._call, args=(tag,)) for tag in TAGS * CLIENTS]

    def start(self):
        for thread in self._threads:
            thread.start()

    def stop(self):
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _call(self, tag):
        headers = {"Authorization": f"Bearer {self.token}"} | ({"X-End-User": tag} if tag else {})
        while not self._end.wait(0.01):
            connection = HTTPConnection("127.0.0.1", random.choice(self.ports), timeout=60)
            try:
                connection.request("GET", "/work", headers=headers)
                self.statuses[connection.getresponse().status] += 1
            except (OSError, HTTPException):  # the server was killed
                self.statuses["gone"] += 1
            finally:
                connection.close()


def records(directory, pid):
    path = directory / f"calls.{pid}"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(tag, int(change), int(moment)) for tag, change, moment in map(str.split, lines)]


def fullest(directory, ended_ns, *, since_ns=0):
    """Return the most simultaneous calls per tag; those of a killed server end with it."""
    changes = []
    for pid, end_ns in ended_ns.items():
        told = records(directory, pid)
        changes += [(moment, change, tag) for tag, change, moment in told]
        for tag in {tag for tag, _, _ in told}:
            changes.append((end_ns, -sum(change for one, change, _ in told if one == tag), tag))
    most, under_way = Counter(), Counter()
    for moment, change, tag in sorted(changes):  # at the same time, those that leave first
        under_way[tag] += change
        if moment >= since_ns:
            most[tag] = max(most[tag], under_way[tag])
    return most


@pytest.mark.timeout(600)
@pytest.mark.parametrize("slots", [1, 3])
@pytest.mark.long
def test_no_tag_has_more_calls_than_slots_when_servers_are_killed(key_service, serve, servers, slots):
    limit = Limit(name="at_once", unit="concurrent", amount=slots, per_tag=True)
    _, token = key_service.create_key(limit)
    clients, dice, ended_ns = Clients(token), random.Random(slots), {}

    def begin():
        port, process = serve(COMMAND, {"slots.py": APP}, key_service, KEYGAUGE_TAG="header:X-End-User")
        return port, process

    alive = [begin() for _ in range(2)]
    clients.ports = [port for port, _ in alive]
    clients.start()
    try:
        for _ in range(KILLS):
            time.sleep(dice.uniform(0.5, 2))
            _, process = alive.pop(0)
            process.kill()
            process.wait()
            ended_ns[process.pid] = now_ns()
            alive.append(begin())
            clients.ports = [port for port, _ in alive]
        since_ns = now_ns()
        time.sleep(13)  # the slots of killed servers are free by then
        free_ns = now_ns()
        time.sleep(5)
    finally:
        clients.stop()
    ended_ns |= {process.pid: now_ns() for _, process in alive}
    most = fullest(servers.directory, ended_ns)
    print(dict(clients.statuses), dict(most), f"{(now_ns() - since_ns) / SECOND:.0f} s")
    assert all(count <= slots for count in most.values()), most
    assert fullest(servers.directory, ended_ns, since_ns=free_ns) == dict.fromkeys(("ann", "bob", "-"), slots)
    assert set(clients.statuses) <= {200, 429, "gone"}
