"""`make demo`: all of KeyGauge on this machine, under live traffic, until Ctrl-C or for DEMO_SECONDS."""

from __future__ import annotations

import os
import signal
import sys

from keygauge_demo import command_line
from keygauge_demo.ending import INTERRUPTED, STOPPED


def main() -> None:
    """Run the demo; the exit status is 0 if the ledger and the metrics agree."""
    description = "Run all of KeyGauge on this machine, under live traffic, until Ctrl-C."
    command_line.read("keygauge-demo", description, command_line.DEMO)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    from keygauge_demo import command  # noqa: PLC0415 - takes seconds, during which Ctrl-C must be quiet too

    command.main()


def _leave(*_: object) -> None:
    """Exit at once: nothing has been started yet, and an exception during an import would print a traceback."""
    sys.stdout.write(f"{STOPPED}\n")
    sys.stdout.flush()
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
