"""The demo as a command: its output and exit status."""

from __future__ import annotations

import json
import signal
import sys
from dataclasses import asdict

import psycopg

from keygauge_demo.console import DemoConsole
from keygauge_demo.ending import INTERRUPTED, STOPPED
from keygauge_demo.run import run
from keygauge_demo.settings import DemoError, Settings
from keygauge_keyservice.config import SettingsError


def main() -> None:
    """Run the demo; the exit status is 0 if the ledger and the metrics agree."""
    console = DemoConsole()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        settings = Settings.from_environment()
        balance = run(settings, console)
    except DemoError as error:
        console.print_error(f"The demo stopped: {error}")
        sys.exit(1)
    except (psycopg.Error, SettingsError, OSError) as error:  # damaged state, or a process that died
        cause = str(error).strip().partition("\n")[0] or type(error).__name__
        console.print_error(
            f"The demo stopped: {cause}. See {settings.state / 'log'}, or remove {settings.state} to start over"
        )
        sys.exit(1)
    except KeyboardInterrupt:
        console.print(STOPPED)
        sys.exit(INTERRUPTED)
    for claim in balance.discrepancies:
        console.print_error(f"This does not hold: {claim}.")
    sys.stdout.write(json.dumps(asdict(balance.summary)) + "\n")
    sys.exit(1 if balance.discrepancies else 0)
