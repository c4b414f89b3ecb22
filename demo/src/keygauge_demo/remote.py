"""`keygauge-demo-traffic`: the demo's customers, for an API whose key service runs elsewhere, as in compose.yaml."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from keygauge_demo import command_line
from keygauge_demo.console import DemoConsole
from keygauge_demo.customers import history, profiles, remote_seed
from keygauge_demo.customers.remote_seed import Operator
from keygauge_demo.customers.seed import Seed
from keygauge_demo.settings import DemoError, read_seconds
from keygauge_demo.traffic_counts import TrafficCounts
from keygauge_keyservice import database


@dataclass(frozen=True)
class Settings:
    """The stack's addresses; `database_url` is for the history and the members, None leaves both out."""

    service_url: str
    api_url: str
    admin_token: str = field(repr=False)
    database_url: str | None = field(repr=False)
    state: Path
    seconds: float | None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Settings:
        """Read the KEYGAUGE_* settings of the stack, and DEMO_API_URL, DEMO_STATE and DEMO_SECONDS.

        Raises:
            DemoError: a setting is missing or wrong.
        """
        return cls(
            service_url=_require(environ, "KEYGAUGE_SERVICE_URL"),
            api_url=_require(environ, "DEMO_API_URL"),
            admin_token=_require(environ, "KEYGAUGE_ADMIN_TOKEN"),
            database_url=environ.get("KEYGAUGE_DATABASE_URL") or None,
            state=Path(environ.get("DEMO_STATE") or ".demo/traffic").absolute(),
            seconds=read_seconds(environ),
        )


def main() -> None:
    """Create missing customers and send their traffic; the exit status is 0 if every call was answered."""
    description = "Send the demo's traffic to an API whose key service runs elsewhere, until Ctrl-C."
    command_line.read("keygauge-demo-traffic", description, command_line.TRAFFIC)
    console = DemoConsole()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the same as Ctrl-C
    try:
        counts = run(Settings.from_environment(), console)
    except (DemoError, psycopg.Error, OSError) as error:
        console.print_error(f"The traffic stopped: {str(error).strip()}")
        sys.exit(1)
    except KeyboardInterrupt:
        console.print("Stopped before there was traffic.")
        sys.exit(130)
    figures = {"sent": counts.sent, "answered": counts.answered, "admitted": counts.admitted, "limited": counts.limited}
    sys.stdout.write(json.dumps({**figures, "failed": counts.failed}) + "\n")
    sys.exit(0 if counts.sent == counts.answered else 1)


def run(settings: Settings, console: DemoConsole) -> TrafficCounts:
    """Create the customers, load the history if there is a database, and send traffic.

    Raises:
        DemoError: the key service refuses or does not answer.
    """
    planted = _load_seed(settings, console)

    from keygauge_demo.run import drive, listen  # noqa: PLC0415 - as below
    from keygauge_demo.traffic import Traffic, choose_drivers  # noqa: PLC0415 - vendors' clients take a second or two to import

    interrupted, counts = listen(), TrafficCounts()
    drivers = choose_drivers([key for account in profiles.ACCOUNTS for key in account.keys], planted.tokens)
    traffic = Traffic(drivers, api_url=settings.api_url, counts=counts, seed=int(datetime.now(UTC).timestamp()))
    with console.live_line(counts) as line:
        asyncio.run(drive(traffic, (), line, interrupted, settings.seconds))
    return counts


def _load_seed(settings: Settings, console: DemoConsole) -> Seed:
    operator = Operator(settings.service_url, settings.admin_token)
    with database.connect(settings.database_url) if settings.database_url else nullcontext() as connection:
        if connection is not None:
            connection.autocommit = True
        planted = remote_seed.load_or_create(
            operator, connection, file=settings.state / "seed.json", now=datetime.now(UTC)
        )
        if connection is not None:
            history.load(connection, planted, console=console)
            console.print(f"Sign in to the portal as {profiles.ACCOUNTS[0].email}, password {planted.password}")
    return planted


def _require(environ: Mapping[str, str], name: str) -> str:
    if not environ.get(name):
        raise DemoError(f"{name} is not set: set it to the address or token of the stack to send traffic to")
    return environ[name].rstrip("/")


if __name__ == "__main__":
    main()
