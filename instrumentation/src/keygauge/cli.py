"""The command `keygauge`: its subcommands come from whichever distributions are installed."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint, distributions, entry_points

from keygauge.command import GROUP, CommandError

_INTERRUPTED = 130  # as shells tell it: 128 + SIGINT
_FAILED = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parser = _parser(sorted(entry_points(group=GROUP), key=lambda point: point.name))
    given = parser.parse_args(arguments)
    run: Callable[[argparse.Namespace], int] | None = getattr(given, "run", None)
    if run is None:
        parser.print_help()
        return 0
    try:
        code = run(given)
        sys.stdout.flush()
    except CommandError as error:
        _complain(str(error))
        return _FAILED
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _FAILED
    return code


def _parser(points: Sequence[EntryPoint]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="keygauge", description=__doc__, epilog=f"Installed: {_installed()}.")
    parser.add_argument("--version", action="version", version=_installed())
    subparsers = parser.add_subparsers(metavar="COMMAND")
    for point in points:
        try:
            point.load()(subparsers)
        except ImportError as error:  # one broken distribution must not take the others' commands away
            _complain(f"{point.name}: {point.value} cannot be loaded ({error}): install its distribution again")
    return parser


def _installed() -> str:
    """Name the distributions of KeyGauge that are there, with their versions."""
    found = {item.name: item.version for item in distributions() if item.name and item.name.startswith("keygauge")}
    return ", ".join(f"{name} {version}" for name, version in sorted(found.items()))


def _complain(message: str) -> None:
    print(f"keygauge: {message}", file=sys.stderr)  # noqa: T201 - a command's output


if __name__ == "__main__":
    sys.exit(main())
