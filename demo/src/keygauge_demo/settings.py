"""The settings of the demo, from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"
END_USER_HEADER = "X-End-User"
_PORT_MAX = 65_535


class DemoError(RuntimeError):
    """The demo cannot continue; the message names the cause and how to fix it."""


@dataclass(frozen=True)
class Settings:
    """The demo's settings; `seconds` is the duration of live traffic, None until it is stopped."""

    port_portal: int
    port_api: int
    state: Path
    seconds: float | None = None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Settings:
        """Read DEMO_PORT_PORTAL, DEMO_PORT_API, DEMO_STATE and DEMO_SECONDS.

        Raises:
            DemoError: a setting is wrong.
        """
        settings = cls(
            port_portal=_port(environ, "DEMO_PORT_PORTAL", 8080),
            port_api=_port(environ, "DEMO_PORT_API", 8000),
            state=Path(environ.get("DEMO_STATE") or ".demo").absolute(),
            seconds=read_seconds(environ),
        )
        if settings.port_portal == settings.port_api:
            raise DemoError(f"the portal and the API cannot share port {settings.port_api}: change DEMO_PORT_API")
        return settings

    @property
    def portal_url(self) -> str:
        """The address of the key service and its portal."""
        return f"http://{HOST}:{self.port_portal}"

    @property
    def api_url(self) -> str:
        """The address of the demo API."""
        return f"http://{HOST}:{self.port_api}"


def _port(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name) or str(default)
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= _PORT_MAX:
        raise DemoError(f"{name} is {text!r}: use a port between 1 and {_PORT_MAX}")
    return int(text)


def read_seconds(environ: Mapping[str, str]) -> float | None:
    """Read DEMO_SECONDS; None means no end.

    Raises:
        DemoError: it is not a number above 0.
    """
    text = environ.get("DEMO_SECONDS")
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise DemoError(f"DEMO_SECONDS is {text!r}: use a number above 0, or leave it out to run until Ctrl-C")
    return seconds
