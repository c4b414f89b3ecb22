"""Standard output as a command's tables and lines are written to it."""

from __future__ import annotations

import sys

from rich.console import Console

_UNBOUNDED = 10_000  # columns: a table takes only what it needs


def output() -> Console:
    """Return a console as wide as the terminal; in a pipe or file nothing is wrapped or cut."""
    return Console(width=None if sys.stdout.isatty() else _UNBOUNDED)
