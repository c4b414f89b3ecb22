"""`keygauge-demo-traffic`: the demo's cast calls an API whose key service runs elsewhere, as in compose.yaml."""

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

from keygauge_demo import cast, history, remote_seed
from keygauge_demo.remote_seed import Operator
from keygauge_demo.run import drive, listen
from keygauge_demo.screen import Screen
from keygauge_demo.seed import Seed
from keygauge_demo.settings import DemoError, read_seconds
from keygauge_demo.tally import Tally
from keygauge_demo.traffic import Traffic, choose_drivers
from keygauge_keyservice import database


@dataclass(frozen=True)
class Settings:
    """Where the stack is; `database_url` is for the history and the members, None leaves both out."""

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
    """Plant the cast where it is missing, then let it call; the exit status is 0 when every call was answered."""
    screen = Screen()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the same as Ctrl-C
    try:
        tally = run(Settings.from_environment(), screen)
    except (DemoError, psycopg.Error, OSError) as error:
        screen.complain(f"The traffic stopped: {str(error).strip()}")
        sys.exit(1)
    except KeyboardInterrupt:
        screen.say("Stopped before there was traffic.")
        sys.exit(130)
    figures = {"sent": tally.sent, "answered": tally.answered, "admitted": tally.admitted, "limited": tally.limited}
    sys.stdout.write(json.dumps({**figures, "failed": tally.failed}) + "\n")
    sys.exit(0 if tally.sent == tally.answered else 1)


def run(settings: Settings, screen: Screen) -> Tally:
    """Plant, load the history if there is a database, and let traffic pass.

    Raises:
        DemoError: the key service refuses or does not answer.
    """
    planted = _plant(settings, screen)
    told, tally = listen(), Tally()
    drivers = choose_drivers([key for account in cast.ACCOUNTS for key in account.keys], planted.tokens)
    traffic = Traffic(drivers, api_url=settings.api_url, tally=tally, seed=int(datetime.now(UTC).timestamp()))
    with screen.watch(tally) as watch:
        asyncio.run(drive(traffic, (), watch, told, settings.seconds))
    return tally


def _plant(settings: Settings, screen: Screen) -> Seed:
    operator = Operator(settings.service_url, settings.admin_token)
    with database.connect(settings.database_url) if settings.database_url else nullcontext() as connection:
        if connection is not None:
            connection.autocommit = True
        planted = remote_seed.plant(operator, connection, file=settings.state / "seed.json", now=datetime.now(UTC))
        if connection is not None:
            history.load(connection, planted, screen=screen)
            screen.say(f"Sign in to the portal as {cast.ACCOUNTS[0].email}, password {planted.password}")
    return planted


def _require(environ: Mapping[str, str], name: str) -> str:
    if not environ.get(name):
        raise DemoError(f"{name} is not set: give the address or token of the stack that shall have traffic")
    return environ[name].rstrip("/")


if __name__ == "__main__":
    main()
