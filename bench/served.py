"""Real servers with the middleware, freshly started: results for callers, and the CPU per call of each process.

Each start has its own server, plan, key and limits: first bursts of concurrent calls to a slow handler, then
16 connections at full speed. A start has collapsed if it serves less than 0.8 of the median of the same server and
limits, and its busiest worker waits more: it is as busy as in other starts if the kernel gave all connections to one
worker, or while other programs slow the machine down. `slowest` is the least share of the median, whatever the cause.
Answers other than 200 are KeyGauge's refusals, since no limit is ever reached. One more start changes the
account's plan three times a second while it is called; its refusals count too. BENCH_LONG=1 tries every server
with one and two processes and every mix of limits, three times each; the short form takes some minutes. With each mix,
uvicorn also serves the bare app, and contrib's middleware around it; both middlewares send metrics to
OpenTelemetry's SDK, and neither creates spans. The last line is JSON; CPU times are the operating system's, in
microseconds per request, for the uvicorn starts.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from statistics import mean, median

import psutil
from bench.service import PEPPER, TOKEN, is_ready, postgresql, serve, wait_until

from keygauge.service_metrics import SERVICE_REQUESTS
from keygauge_demo.stack.port import hold
from keygauge_keyservice import database
from keygauge_keyservice.accounts import accounts, plans
from keygauge_keyservice.database import Connection
from keygauge_keyservice.keys import keys
from keygauge_keyservice.limits.definitions import Limit
from keygauge_keyservice.secret import Peppers

LONG = os.environ.get("BENCH_LONG") == "1"
CONNECTIONS = 16
BURST = 30
FULL_SPEED_S = 6.0 if LONG else 3.0
WARM_UP_S = 1.0
COLLAPSED = 0.8  # of the median
PLAN_CHANGE_S = 0.3

APP = """
import asyncio, os, time
from flask import Flask
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.metrics import set_meter_provider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.trace import NoOpTracerProvider
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from keygauge import asgi as keygauge_asgi, wsgi as keygauge_wsgi

ANSWER = {"model": "gpt-4o", "object": "chat.completion", "choices": [],
          "usage": {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}}

async def fast(request):
    return JSONResponse(ANSWER)

async def slow(request):
    await asyncio.sleep(0.3)
    return JSONResponse(ANSWER)

bare = Starlette(routes=[Route("/fast", fast, methods=["POST"]), Route("/slow", slow, methods=["POST"])])
set_meter_provider(MeterProvider([PrometheusMetricReader(registry=CollectorRegistry())]))
contrib = OpenTelemetryMiddleware(bare, tracer_provider=NoOpTracerProvider(), exclude_spans=["send", "receive"])
asgi = keygauge_asgi.KeyGaugeMiddleware(bare)
flask = Flask(__name__)
flask.add_url_rule("/fast", "fast", lambda: ANSWER, methods=["POST"])
flask.add_url_rule("/slow", "slow", lambda: time.sleep(0.3) or ANSWER, methods=["POST"])
wsgi = keygauge_wsgi.KeyGaugeMiddleware(flask.wsgi_app)
"""
UVICORN = [
    "uvicorn",
    "served_app:asgi",
    "--port",
    "{port}",
    "--log-level",
    "warning",
    "--no-access-log",
    "--workers",
    "{n}",
]
GUNICORN = ["gunicorn", "--bind", "127.0.0.1:{port}", "--log-level", "warning", "--workers", "{n}"]
SERVERS = {
    "uvicorn": UVICORN,
    "gunicorn gthread": [*GUNICORN, "-k", "gthread", "--threads", "16", "served_app:wsgi"],
    "gunicorn uvicorn": [*GUNICORN, "-k", "uvicorn_worker.UvicornWorker", "served_app:asgi"],
    "gunicorn sync": [*GUNICORN, "served_app:wsgi"],
}
RPM = Limit(name="rpm", unit="request", amount=100_000_000, window_s=60)
MONTH = Limit(name="month", unit="request", amount=10_000_000_000, period="month")
TPM = Limit(name="tpm", unit="token", amount=50_000_000_000, window_s=60)
AT_ONCE = Limit(name="at_once", unit="concurrent", amount=1_000)
MIXES = {"rpm, month": [RPM, MONTH], "tpm": [TPM], "rpm, tpm": [RPM, TPM], "month, at once": [MONTH, AT_ONCE]}


@dataclass
class Start:
    """The results of one start."""

    server: str
    requests_per_s: float
    refused: int
    heartbeats_per_s: float = 0.0
    busy: float = 0.0  # share of the time that the busiest worker had a CPU
    app_us: float = 0.0
    key_service_us: float = 0.0
    postgresql_us: float = 0.0


class Stack:
    """The key service and PostgreSQL, for all starts."""

    def __init__(self, url: str, connection: Connection, directory: Path) -> None:
        self.url, self.connection, self.directory = url, connection, directory
        self.number = 0
        processes = list(psutil.process_iter(["cmdline"]))
        port = url.rsplit(":", 1)[1]
        self.service = [p for p in processes if {"serve", port} <= set(p.info["cmdline"] or ())]
        self.postgresql = [p for p in processes if any(str(directory) in part for part in p.info["cmdline"] or ())]

    def make_plan(self, limits: Sequence[Limit]) -> str:
        self.number += 1
        name = f"start{self.number}"
        plans.create(self.connection, plan_id=name, name=name, limits=limits, actor="bench")
        return name

    def make_key(self, plan: str) -> tuple[str, str]:
        """Return a new account and the token of its key."""
        account = accounts.create(self.connection, name=plan, plan_id=plan, actor="bench")
        peppers = Peppers.parse(PEPPER)
        return account.id, keys.create(
            self.connection, peppers=peppers, account_id=account.id, name=plan, actor="bench"
        )[1]

    def heartbeats(self) -> float:
        request = urllib.request.Request(f"{self.url}/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
        with urllib.request.urlopen(request) as answer:
            lines = answer.read().decode().splitlines()
        name = SERVICE_REQUESTS.prometheus_name
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name) and "/v1/heartbeat" in line)


def cpu_s(processes: Sequence[psutil.Process]) -> dict[int, float]:
    """Return the CPU time of processes and their children."""
    times: dict[int, float] = {}
    for process in {child for parent in processes for child in [parent, *parent.children(recursive=True)]}:
        with suppress(psutil.NoSuchProcess):
            spent = process.cpu_times()
            times[process.pid] = spent.user + spent.system
    return times


def spent_since(before: Mapping[int, float], processes: Sequence[psutil.Process]) -> list[float]:
    """Return the CPU time of each process and child since `before`."""
    return [seconds - before.get(pid, 0.0) for pid, seconds in cpu_s(processes).items()]


async def call(port: int, token: str, path: str, *, until: float, statuses: Counter[int]) -> None:
    """Call repeatedly over one connection until a time, at least once."""
    head = f"POST {path} HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"
    message = f"{head}Content-Length: 2\r\n\r\n{{}}".encode()
    reader = writer = None
    while True:
        if writer is None:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert reader is not None
        writer.write(message)
        try:
            head_lines = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(head_lines.split(b"content-length:")[1].split(b"\r\n")[0]))
        except (asyncio.IncompleteReadError, ConnectionError):  # the server closes connections
            statuses[0] += 1
            writer = None
            continue
        statuses[int(head_lines[9:12])] += 1
        if b"connection: close" in head_lines:
            writer.close()
            writer = None
        if time.monotonic() >= until:
            return


async def load(port: int, token: str, path: str, *, connections: int, seconds: float = 0.0) -> Counter[int]:
    """Call over many connections; count the answers by status, 0 for none."""
    statuses: Counter[int] = Counter()
    until = time.monotonic() + seconds
    await asyncio.gather(*(call(port, token, path, until=until, statuses=statuses) for _ in range(connections)))
    return statuses


@contextmanager
def run(command: Sequence[str], stack: Stack, app: str, processes: int) -> Iterator[tuple[int, psutil.Process]]:
    """Run a server on a free port."""
    with tempfile.TemporaryDirectory() as name, hold() as held:
        port = held.getsockname()[1]
        Path(name, "served_app.py").write_text(APP)
        environ = os.environ | {
            "KEYGAUGE_SERVICE_URL": stack.url,
            "KEYGAUGE_SERVICE_TOKEN": TOKEN,
            "KEYGAUGE_SPOOL_DIR": f"{name}/spool",
            "PYTHONPATH": name,
            "HOME": name,
        }
        words = [word.format(port=port, n=processes).replace(":asgi", f":{app}") for word in command]
        program = Path(sys.executable).with_name(words[0])
        server = subprocess.Popen([str(program), *words[1:]], cwd=name, env=environ, stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: listens(port), f"{words[0]} is ready", timeout_s=60)
            yield port, psutil.Process(server.pid)
        finally:
            server.terminate()
            server.wait()


def listens(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5)
    except urllib.error.HTTPError:
        return True
    except OSError:
        return is_ready(f"http://127.0.0.1:{port}")
    return True


def start(stack: Stack, server: str, mix: str, processes: int) -> Start:
    """Start a server, burst, then call at full speed."""
    _, token = stack.make_key(stack.make_plan(MIXES[mix]))
    with run(SERVERS[server], stack, "asgi", processes) as (port, process):
        statuses: Counter[int] = Counter()
        for _ in range(3):
            statuses += asyncio.run(load(port, token, "/slow", connections=BURST if server != "gunicorn sync" else 4))
        statuses += asyncio.run(load(port, token, "/fast", connections=CONNECTIONS, seconds=WARM_UP_S))
        groups = [[process], stack.service, stack.postgresql]
        beats, before = stack.heartbeats(), [cpu_s(group) for group in groups]
        counted = asyncio.run(load(port, token, "/fast", connections=CONNECTIONS, seconds=FULL_SPEED_S))
        beats = stack.heartbeats() - beats
        spent = [spent_since(earlier, group) for group, earlier in zip(groups, before, strict=True)]
        busy, costs = max(spent[0]) / FULL_SPEED_S, [sum(seconds) * 1e6 / counted[200] for seconds in spent]
        refused = sum(count for status, count in (statuses + counted).items() if status not in {0, 200})
        name = f"{server}, {processes}, {mix}"
        return Start(name, counted[200] / FULL_SPEED_S, refused, beats / FULL_SPEED_S / processes, busy, *costs)


async def load_changing_plans(stack: Stack, port: int, token: str, account: str, names: Sequence[str]) -> Counter[int]:
    """Call at full speed while the account changes back and forth between plans."""
    calls = asyncio.create_task(load(port, token, "/fast", connections=CONNECTIONS, seconds=FULL_SPEED_S))
    for name in cycle(names):
        await asyncio.to_thread(accounts.change_plan, stack.connection, account, name, actor="bench")
        await asyncio.wait([calls], timeout=PLAN_CHANGE_S)
        if calls.done():
            return calls.result()
    raise AssertionError


def start_changing_plans(stack: Stack) -> Start:
    """Start a server, and call it while its key's plan changes."""
    names = [stack.make_plan(MIXES[mix]) for mix in ("rpm, month", "rpm, tpm", "month, at once")]
    account, token = stack.make_key(names[0])
    with run(UVICORN, stack, "asgi", 1) as (port, _):
        asyncio.run(load(port, token, "/fast", connections=CONNECTIONS, seconds=WARM_UP_S))
        statuses = asyncio.run(load_changing_plans(stack, port, token, account, names))
        refused = sum(count for status, count in statuses.items() if status not in {0, 200})
        return Start("uvicorn, 1, changing plans", statuses[200] / FULL_SPEED_S, refused)


def start_peer(stack: Stack, app: str) -> Start:
    """Serve an app without KeyGauge with uvicorn, and call it at full speed."""
    with run(UVICORN, stack, app, 1) as (port, process):
        asyncio.run(load(port, "none", "/fast", connections=CONNECTIONS, seconds=WARM_UP_S))
        before = cpu_s([process])
        answered = asyncio.run(load(port, "none", "/fast", connections=CONNECTIONS, seconds=FULL_SPEED_S))[200]
        return Start(app, answered / FULL_SPEED_S, 0, app_us=sum(spent_since(before, [process])) * 1e6 / answered)


def plan_starts() -> Iterator[tuple[str, str, int]]:
    """Yield servers, mixes and numbers of processes."""
    for mix in MIXES:
        for server in SERVERS if LONG else ["uvicorn", "gunicorn gthread"]:
            for processes in (1, 2) if LONG else (1,):
                for _ in range(3 if LONG or server == "uvicorn" else 1):
                    yield server, mix, processes


def median_of(starts: Sequence[Start], server: str, figure: str) -> float:
    """Return the median of a figure of the starts of a server."""
    return median(getattr(start, figure) for start in starts if start.server == server)


def find_collapsed(starts: Sequence[Start]) -> list[Start]:
    """Return the starts that serve less than others of the same server and limits because they wait."""
    return [
        start
        for start in starts
        if all(
            getattr(start, figure) < COLLAPSED * median_of(starts, start.server, figure)
            for figure in ("requests_per_s", "busy")
        )
    ]


def main() -> None:
    """Print one line per start, then the summary."""
    starts: list[Start] = []
    peers: dict[str, dict[str, Start]] = {"bare": {}, "contrib": {}}  # by mix
    with (
        tempfile.TemporaryDirectory() as name,
        postgresql(Path(name)) as server,
        database.connect(server.get_uri()) as connection,
    ):
        database.migrate(connection)
        with serve(server.get_uri()) as url:
            stack = Stack(url, connection, Path(name))
            for server_name, mix, processes in plan_starts():
                starts.append(start(stack, server_name, mix, processes))
                print(starts[-1], flush=True)
                for app, theirs in peers.items():
                    if mix not in theirs:
                        theirs[mix] = start_peer(stack, app)
                        print(theirs[mix], flush=True)
            changing = start_changing_plans(stack)
            print(changing, flush=True)
    uvicorn = [x for x in starts if x.server.startswith("uvicorn, 1")]
    result = {
        "starts": len(starts),
        "collapsed": len(find_collapsed(starts)),
        "slowest": round(min(x.requests_per_s / median_of(starts, x.server, "requests_per_s") for x in starts), 2),
        "refused": sum(x.refused for x in [*starts, changing]),
        "heartbeats_per_s": round(mean(x.heartbeats_per_s for x in starts), 2),
        "requests_per_s": round(median(x.requests_per_s for x in uvicorn)),
        **{f"{app}_per_s": round(median(x.requests_per_s for x in theirs.values())) for app, theirs in peers.items()},
        "app_us": round(mean(x.app_us for x in uvicorn), 1),
        **{f"{app}_app_us": round(mean(x.app_us for x in theirs.values()), 1) for app, theirs in peers.items()},
        "key_service_us": round(mean(x.key_service_us for x in uvicorn), 1),
        "postgresql_us": round(mean(x.postgresql_us for x in uvicorn), 1),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
