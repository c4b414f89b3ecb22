import asyncio
import resource
from types import SimpleNamespace

import pytest

from keygauge_keyservice.serving.bodies import Bodies

PART = b"x" * 1_000


class Client:
    """A client that sends a body step by step from an address."""

    def __init__(self, app, address="192.0.2.1", path="/v1/events", headers=()):
        self._parts = asyncio.Queue()
        self.statuses = []
        self.scope = {"type": "http", "path": path, "client": (address, 1), "headers": list(headers)}
        self.task = asyncio.create_task(app(self.scope, self._parts.get, self._take))

    async def _take(self, message):
        if message["type"] == "http.response.start":
            self.statuses.append(message["status"])

    async def send(self, *parts, more=True):
        for part in parts:
            self._parts.put_nowait({"type": "http.request", "body": part, "more_body": True})
        if not more:
            self._parts.put_nowait({"type": "http.request", "body": b"", "more_body": False})
        for _ in range(10):  # until everything has been read
            await asyncio.sleep(0)

    async def leave(self):
        self._parts.put_nowait({"type": "http.disconnect"})
        await self.task


class App:
    def __init__(self):
        self.bodies = []

    async def __call__(self, scope, receive, send):
        self.bodies.append(scope["body"].read() if "body" in scope else None)
        await send({"type": "http.response.start", "status": 200, "headers": []})


async def test_the_app_gets_a_request_once_its_body_is_complete():
    app = App()
    client = Client(Bodies(app))
    await client.send(PART, PART)
    assert app.bodies == []
    await client.send(more=False)
    await client.task
    assert app.bodies == [PART * 2]
    assert client.scope["body_size"] == 2_000


async def test_a_client_that_leaves_frees_its_space():
    app = App()
    bodies = Bodies(app)
    client = Client(bodies)
    await client.send(PART)
    await client.leave()
    assert (app.bodies, bodies._bytes, bodies._arriving) == ([], 0, {})


async def test_only_batches_of_events_may_be_large():
    app = App()
    told = [(b"content-length", b"2000000")]
    await Client(Bodies(app), path="/sign-in", headers=told).task
    assert app.bodies == [None]  # refused by its length
    client = Client(Bodies(app), headers=told)
    await client.send(PART * 2_000, more=False)
    await client.task
    assert len(app.bodies[1]) == 2_000_000


async def test_if_too_much_is_being_received_the_largest_sender_loses_first():
    app = App()
    bodies = Bodies(app, bytes_max=10_000)
    replica = Client(bodies, "198.51.100.1")
    await replica.send(PART, PART)
    attack = [Client(bodies, f"2001:db8::{number}") for number in range(5)]  # all in one network
    for client in attack:
        await client.send(*[PART] * 3)
    assert [client.statuses for client in attack] == [[503], [503], [503], [], []]
    await replica.send(PART, more=False)
    await replica.task
    assert app.bodies == [PART * 3]
    for client in attack[3:]:
        await client.leave()
    assert (bodies._bytes, bodies._arriving) == (0, {})


async def test_the_last_part_of_a_body_may_drop_that_body():
    app = App()
    client = Client(Bodies(app, bytes_max=1_500))
    await client.send(PART, PART, more=False)
    await client.task
    assert (client.statuses, app.bodies) == ([503], [])


@pytest.fixture
def full_disk():
    """Limit files to 100 kB, to simulate a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_bodies_that_do_not_fit_on_a_full_disk_are_refused(full_disk):
    app = App()
    bodies = Bodies(app)
    large, small = Client(bodies), Client(bodies)
    await large.send(*[PART] * 200, more=False)
    await small.send(PART, more=False)
    await large.task
    await small.task
    assert (large.statuses, small.statuses, app.bodies) == ([503], [200], [PART])
    assert (bodies._bytes, bodies._arriving) == (0, {})


async def test_incomplete_bodies_use_only_a_part_of_a_small_disk(monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=8_000))
    app = App()
    first, second = Client(bodies := Bodies(app), "192.0.2.1"), Client(bodies, "192.0.2.2")
    await first.send(PART, PART)
    await second.send(PART, more=False)
    assert (first.statuses, second.statuses) == ([503], [200])
