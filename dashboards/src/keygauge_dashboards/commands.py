"""`keygauge dashboards build|check`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from keygauge_dashboards.files import generate, stale, write
from keygauge_dashboards.thresholds import Thresholds


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands to the `keygauge` command."""
    parser = subparsers.add_parser("dashboards", help="generate Grafana dashboards, alert rules and provisioning")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    for name, run, text in (
        ("build", _build, "write the generated files"),
        ("check", _check, "fail when the files on disk are not what `build` would write"),
    ):
        verb = verbs.add_parser(name, help=text)
        verb.add_argument("--folder", type=Path, default=Path(), help="the project's folder (default: the current one)")
        verb.set_defaults(run=run)


def _build(arguments: argparse.Namespace) -> int:
    for path in write(arguments.folder, generate(Thresholds())):
        print(path)  # noqa: T201 - a command's output
    return 0


def _check(arguments: argparse.Namespace) -> int:
    different = stale(arguments.folder, generate(Thresholds()))
    for path in different:
        print(f"{path} is stale: run `keygauge dashboards build` and commit", file=sys.stderr)  # noqa: T201 - a command's output
    return 1 if different else 0
