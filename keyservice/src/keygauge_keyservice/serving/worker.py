"""A worker process of `keygauge serve`, which runs one app on sockets inherited from the supervisor."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import socket

import uvicorn

from keygauge_keyservice import config
from keygauge_keyservice.app import create_app
from keygauge_keyservice.config import Settings
from keygauge_keyservice.jobs import JobRunner, maintenance_jobs, notice_jobs
from keygauge_keyservice.serving.asgi import App
from keygauge_keyservice.serving.assignment import GRACEFUL_S, READY, Assignment
from keygauge_keyservice.serving.bodies import Bodies
from keygauge_keyservice.serving.bridge import Bridge
from keygauge_keyservice.serving.connection import CONNECTIONS_MAX, IDLE_S, protocol
from keygauge_keyservice.serving.forwarder import Forwarded, Forwarder
from keygauge_keyservice.serving.front import HEALTH_PATHS, Front, Turns
from keygauge_keyservice.serving.heartbeats import Heartbeats
from keygauge_keyservice.web.context import of_app

_LEAVE_S = 1.5  # longer than the interval of heartbeats, whose answers tell replicas to reconnect
_NOTICES_S = 5.0
_QUEUE = 200  # requests that wait for a thread
_HEARTBEATS_MAX = 1_000  # many replicas may start at once
_ALLOCATIONS_PER_COLLECTION = 50_000  # a batch of events creates as many objects, none of them in a cycle
_NICENESS = 5  # heartbeats have priority over pages if the CPU is busy
_CLOSE = (b"connection", b"close")


class Worker(uvicorn.Server):
    """A uvicorn server that reports to the supervisor when it is ready, and lets clients reconnect before it stops."""

    def __init__(self, options: uvicorn.Config, supervisor: socket.socket) -> None:
        super().__init__(options)
        self._supervisor = supervisor

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and report that the worker is ready."""
        await super().startup(sockets)
        asyncio.get_running_loop().add_reader(self._supervisor, os._exit, 1)  # exit at once if the supervisor is gone
        self._supervisor.send(READY)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Give each client one more answer, which tells it to reconnect; then shut down as uvicorn does."""
        loop = asyncio.get_running_loop()
        for server in self.servers:
            server.close()
        self.server_state.default_headers = [*self.server_state.default_headers, _CLOSE]
        until = loop.time() + _LEAVE_S
        while self.server_state.connections and loop.time() < until:  # noqa: ASYNC110 - uvicorn waits like this
            await asyncio.sleep(0.02)
        await super().shutdown(sockets)


def run(assignment: Assignment) -> None:
    """Serve until stopped."""
    gc.disable()  # until everything that lives as long as the worker exists
    supervisor = socket.socket(fileno=assignment.supervisor)
    supervisor.settimeout(0)
    _allow_descriptors(2 * CONNECTIONS_MAX)  # a connection and, for a large body, its file
    app = _app(assignment)
    gc.collect()
    gc.freeze()  # exclude what lives as long as the worker from collections
    gc.set_threshold(_ALLOCATIONS_PER_COLLECTION)
    gc.enable()
    options = uvicorn.Config(
        app,
        http=protocol(),  # type: ignore[arg-type]  # a factory in place of a class
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # KEYGAUGE_PROXIES sets their number
        server_header=False,
        timeout_keep_alive=IDLE_S,
        timeout_graceful_shutdown=GRACEFUL_S,
    )
    Worker(options, supervisor).run([socket.socket(fileno=listener) for listener in assignment.listeners])


def _app(assignment: Assignment) -> App:
    settings = Settings.from_environment()
    app = create_app(settings)
    bridge = Bridge(app, threads=assignment.threads, queue=_QUEUE)
    if assignment.role == "replicas":
        heartbeats = None if settings.read_only else Heartbeats(of_app(app), rest=bridge, inside_max=_HEARTBEATS_MAX)
        pages = Forwarder(assignment.pages) if assignment.pages else None
        # A thread for each, as an unavailable database delays all other requests.
        health = {path: Bridge(app, threads=1, queue=_QUEUE) for path in HEALTH_PATHS}
        front = Front(replicas=bridge, pages=pages, heartbeats=heartbeats, health=health)
        return Bodies(front, proxies=settings.proxies)
    os.nice(_NICENESS)
    if not settings.read_only:
        maintenance = maintenance_jobs(retention_days=config.retention_days(), bounds=settings.bounds)
        JobRunner(settings.database_url, maintenance).start()
        JobRunner(settings.database_url, notice_jobs(config.notice_worker()), interval_s=_NOTICES_S).start()
    front = Front(replicas=None, pages=Turns(bridge, proxies=settings.proxies))
    return Forwarded(Bodies(front, proxies=settings.proxies))


def _allow_descriptors(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
        )
