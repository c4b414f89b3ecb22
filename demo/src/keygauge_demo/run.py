"""One run of the demo: start everything, send traffic, stop, and compare clients, ledger and metrics."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from threading import Event

from keygauge_demo import summary
from keygauge_demo.console import DemoConsole, LiveLine
from keygauge_demo.customers import history, profiles, seed
from keygauge_demo.customers.seed import Seed
from keygauge_demo.settings import DemoError, Settings
from keygauge_demo.stack.process import Process
from keygauge_demo.stack.stack import Stack
from keygauge_demo.summary import Balance
from keygauge_demo.traffic import Traffic, choose_drivers
from keygauge_demo.traffic_counts import TrafficCounts
from keygauge_keyservice import config, database
from keygauge_keyservice.database import Connection

LOOK_S = 0.25
CURL_MODEL = "gpt-4o-mini"


def run(settings: Settings, console: DemoConsole) -> Balance:
    """Run the demo and return its balance once every part of it has stopped.

    Raises:
        DemoError: a process cannot be started, or ended early.
        KeyboardInterrupt: the demo was stopped before there was traffic.
    """
    with Stack(settings) as stack:
        with console.step("Starting PostgreSQL"):
            database_url = stack.start_database()
        with database.connect(database_url) as connection:
            connection.autocommit = True
            service = stack.key_service_settings(database_url)
            planted = _load_seed(connection, service, settings)
            # They take a few seconds to start, during which the history is written.
            key_service, api = stack.start_key_service(database_url), stack.start_api(service.service_token)
            history.load(connection, planted, console=console)
            with console.step("Starting the key service and the demo API"):
                key_service.wait_until_ready(f"{settings.portal_url}/readyz")
                api.wait_until_ready(f"{settings.api_url}/healthz")
            interrupted = listen()
            console.welcome(_introduce(settings, planted))
            return _pass_traffic(connection, settings, planted, (key_service, api), console, interrupted)


def _load_seed(connection: Connection, service: config.Settings, settings: Settings) -> Seed:
    database.migrate(connection)
    file = settings.state / "seed.json"
    return seed.load_or_create(connection, peppers=service.peppers, file=file, now=datetime.now(UTC))


def listen() -> Event:
    """Return an event that Ctrl-C or SIGTERM sets from now on; the remaining work is short and has its own timeouts."""
    interrupted = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: interrupted.set())
    return interrupted


def _pass_traffic(  # noqa: PLR0917 - the parts of one run
    connection: Connection,
    settings: Settings,
    planted: Seed,
    parts: Sequence[Process],
    console: DemoConsole,
    interrupted: Event,
) -> Balance:
    counts, since = TrafficCounts(), datetime.now(UTC)
    drivers = choose_drivers([key for account in profiles.ACCOUNTS for key in account.keys], planted.tokens)
    traffic = Traffic(drivers, api_url=settings.api_url, counts=counts, seed=int(since.timestamp()))
    with console.live_line(counts) as line:
        asyncio.run(drive(traffic, parts, line, interrupted, settings.seconds))
    key_ids = [planted.key_ids[driver.key.name] for driver in drivers]
    with console.step("Waiting for the last events to reach the ledger"):
        ledger = summary.await_ledger(connection, key_ids=key_ids, since=since, requests=counts.answered)
    metric = summary.await_metrics(f"{settings.api_url}/metrics", key_ids=key_ids, ledger=ledger)
    return summary.balance(counts, ledger=ledger, metric=metric)


async def drive(
    traffic: Traffic, parts: Sequence[Process], line: LiveLine, interrupted: Event, seconds: float | None
) -> None:
    """Send traffic until interrupted or for some seconds.

    Raises:
        DemoError: one of the processes ended.
    """
    stop = asyncio.Event()
    running = asyncio.create_task(traffic.run(stop))
    deadline = time.monotonic() + (seconds or float("inf"))
    while not interrupted.is_set() and time.monotonic() < deadline:
        await asyncio.sleep(LOOK_S)
        line.update()
        _require_alive(parts)
    stop.set()
    await running


def _require_alive(parts: Sequence[Process]) -> None:
    for part in parts:
        if not part.is_running:
            raise DemoError(f"the {part.name} ended: see {part.log}")


def _introduce(settings: Settings, planted: Seed) -> list[tuple[str, str]]:
    account = profiles.ACCOUNTS[0]
    body = f'{{"model": "{CURL_MODEL}", "messages": [{{"role": "user", "content": "Hello"}}]}}'
    curl = (
        f"curl {settings.api_url}/v1/chat/completions -H 'content-type: application/json' "
        f"-H 'authorization: Bearer {planted.tokens[profiles.VISITOR_KEY]}' -d '{body}'"
    )
    until = f"for {settings.seconds:g} seconds" if settings.seconds else "until Ctrl-C"
    return [
        ("Portal", settings.portal_url),
        ("Sign in", f"{account.email}   password {planted.password}   ({account.name}, plan {account.plan})"),
        ("", "the other accounts have the same password: " + ", ".join(other.email for other in profiles.ACCOUNTS[1:])),
        ("API", f"{settings.api_url}/docs   metrics {settings.api_url}/metrics"),
        ("Try", curl),
        ("Traffic", until),
    ]
