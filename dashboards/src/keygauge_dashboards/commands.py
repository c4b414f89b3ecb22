"""`keygauge dashboards build|check`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from keygauge.command_line.command import CommandError, Noun
from keygauge_dashboards.alerts.alert import Links
from keygauge_dashboards.generate import generate, stale, write
from keygauge_dashboards.thresholds import Thresholds, read


@click.group(cls=Noun)
def dashboards() -> None:
    """Generate Grafana dashboards, alert rules and provisioning."""


def _options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(
        (
            click.option("--folder", type=_PATH, default=Path(), help="The project folder (default: the current one)."),
            click.option("--thresholds", type=_PATH, metavar="FILE", help="A YAML file with your thresholds."),
            click.option(
                "--grafana", default=Links.grafana, metavar="URL", help="Your Grafana's URL, for links in alerts."
            ),
            click.option(
                "--runbook", default=Links.runbook, metavar="URL", help="Your runbook's URL, for links in alerts."
            ),
            click.option(
                "--owner", default=Links.owner, metavar="NAME", help="The value of the label `owner` on all alerts."
            ),
        )
    ):
        function = option(function)
    return function


_PATH = click.Path(path_type=Path)


@dashboards.command("build", examples=("keygauge dashboards build --thresholds thresholds.yaml",))
@_options
def _build(folder: Path, **given: Any) -> None:
    """Write the generated files."""
    for path in write(folder, _generate(**given)):
        click.echo(path)


@dashboards.command("check", examples=("keygauge dashboards check",))
@_options
def _check(folder: Path, **given: Any) -> int:
    """Fail if the files on disk differ from what `build` would write."""
    different = stale(folder, _generate(**given))
    for path in different:
        click.echo(f"{path} is stale: run `keygauge dashboards build` and commit", err=True)
    return 1 if different else 0


def _generate(*, thresholds: Path | None, grafana: str, runbook: str, owner: str) -> dict[Path, str]:
    links = Links(_url("grafana", grafana), _url("runbook", runbook), owner)
    if thresholds is None:
        return generate(Thresholds(), links)
    try:
        text = thresholds.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"thresholds: {thresholds} cannot be read: {error}") from error
    return generate(read(text), links)


def _url(name: str, given: str) -> str:
    """Return an absolute URL, which works wherever an alert is read."""
    url = given.rstrip("/")
    if not url.startswith(("https://", "http://")):
        raise CommandError(f"--{name} is {url!r}: use an address in full, such as https://wiki.example/keygauge")
    return url
