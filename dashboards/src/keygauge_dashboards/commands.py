"""`keygauge dashboards build|check`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from keygauge.command import CommandError, Subparsers
from keygauge_dashboards.alerts.alert import Links
from keygauge_dashboards.generate import generate, stale, write
from keygauge_dashboards.thresholds import Thresholds, read


def register(subparsers: Subparsers) -> None:
    """Add the commands to the `keygauge` command."""
    parser = subparsers.add_parser("dashboards", help="generate Grafana dashboards, alert rules and provisioning")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    for name, run, text in (
        ("build", _build, "write the generated files"),
        ("check", _check, "fail when the files on disk are not what `build` would write"),
    ):
        verb = verbs.add_parser(name, help=text)
        verb.add_argument("--folder", type=Path, default=Path(), help="the project's folder (default: the current one)")
        verb.add_argument("--thresholds", type=Path, metavar="FILE", help="your own thresholds, as YAML")
        verb.add_argument("--grafana", default=Links.grafana, metavar="URL", help="your Grafana, for links from alerts")
        verb.add_argument("--runbook", default=Links.runbook, metavar="URL", help="your runbook, for links from alerts")
        verb.add_argument("--owner", default=Links.owner, metavar="NAME", help="the label `owner` of all alerts")
        verb.set_defaults(run=run)


def _build(arguments: argparse.Namespace) -> int:
    for path in write(arguments.folder, _generate(arguments)):
        print(path)  # noqa: T201 - a command's output
    return 0


def _check(arguments: argparse.Namespace) -> int:
    different = stale(arguments.folder, _generate(arguments))
    for path in different:
        print(f"{path} is stale: run `keygauge dashboards build` and commit", file=sys.stderr)  # noqa: T201 - a command's output
    return 1 if different else 0


def _generate(arguments: argparse.Namespace) -> dict[Path, str]:
    links = Links(_url("grafana", arguments), _url("runbook", arguments), arguments.owner)
    if arguments.thresholds is None:
        return generate(Thresholds(), links)
    try:
        text = arguments.thresholds.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"thresholds: {arguments.thresholds} cannot be read: {error}") from error
    return generate(read(text), links)


def _url(name: str, arguments: argparse.Namespace) -> str:
    """Return an address that can be followed from wherever an alert is read."""
    url = str(getattr(arguments, name)).rstrip("/")
    if not url.startswith(("https://", "http://")):
        raise CommandError(f"--{name} is {url!r}: give an address in full, such as https://wiki.example/keygauge")
    return url
