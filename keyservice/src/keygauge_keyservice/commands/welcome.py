"""The messages of `keygauge serve` when it is ready: the portal's URL, the first sign-in, and the next step."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from keygauge_keyservice import database
from keygauge_keyservice.accounts import accounts, invitations, members
from keygauge_keyservice.commands import init
from keygauge_keyservice.commands.connection.session import ACTOR
from keygauge_keyservice.config import Settings
from keygauge_keyservice.database import Connection

_FIRST = "operator@localhost"  # the first operator
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - nothing is bound here


def show(given: Settings, *, host: str, port: int, replica_address: tuple[str, int] | None = None) -> None:
    """Print to stderr; a sign-in link is only printed to a terminal, as logs are widely readable."""
    portal = given.public_url or _url(host, port)
    service = _url(*(replica_address or (host, port)))
    lines = [("Portal", portal)]
    with suppress(*database.UNAVAILABLE), database.connect(given.database_url) as connection:
        if not given.read_only and not members.list_members(connection, None, limit=1):
            lines.append(("First sign-in", _first_sign_in(connection, portal)))
        if not accounts.list_accounts(connection):
            lines.append(("Next", f"{_command(service)} in this folder, in another terminal"))
    for name, text in lines:
        print(f"{name + ':':<15}{text}", file=sys.stderr)  # noqa: T201 - a command's output
    sys.stderr.flush()


def _url(host: str, port: int) -> str:
    return f"http://{_ANYWHERE.get(host) or (f'[{host}]' if ':' in host else host)}:{port}"


def _command(service_url: str) -> str:
    option = "" if service_url == init.SERVICE_URL else f" --service-url {service_url}"
    return f"run 'keygauge init <folder of your service>{option}'"


def _first_sign_in(connection: Connection, portal: str) -> str:
    if os.environ.get("KEYGAUGE_DATABASE_URL") or not sys.stderr.isatty():
        return "create an operator with 'keygauge members create you@example.com --role operator --generate'"
    _, token = invitations.create(
        connection, account_id=None, email=_FIRST, role="operator", actor=ACTOR, by_operator=True
    )
    return f"{portal.rstrip('/')}/invitation/{token} (once, within 7 days, as {_FIRST})"
