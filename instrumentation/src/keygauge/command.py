"""What the distributions that add subcommands to `keygauge` share with it."""

from __future__ import annotations

import argparse
from typing import TypeAlias

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 - argparse has no public name for it

GROUP = "keygauge.commands"  # entry points: functions that take `Subparsers` and set `run` on what they add


class CommandError(Exception):
    """A command cannot go on; the message names object, cause and way out, and is all that is printed."""
