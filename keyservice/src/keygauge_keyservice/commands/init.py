"""`keygauge init`: set up a plan, an account and a key for an existing service, and show the line to add to it."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import click

from keygauge.command_line.command import CommandError, Verb
from keygauge_keyservice.accounts import accounts, plans
from keygauge_keyservice.commands import project
from keygauge_keyservice.commands.connection.session import ACTOR, checked_name, connected
from keygauge_keyservice.config import Settings
from keygauge_keyservice.database import Connection
from keygauge_keyservice.keys import keys, pepper_check
from keygauge_keyservice.limits.definitions import Limit

_PLAN = "starter"
_LIMITS = (
    Limit(name="rpm", unit="request", amount=600, window_s=60),
    Limit(name="monthly_requests", unit="request", amount=20_000, period="month"),
)
_FILE = "keygauge.env"
SERVICE_URL = "http://127.0.0.1:8080"  # where 'keygauge serve' listens by default
_ANY_FRAMEWORK = "app = KeyGaugeMiddleware(app)  # from keygauge.asgi or keygauge.wsgi import KeyGaugeMiddleware"


@click.command(
    cls=Verb,
    examples=("keygauge init", "keygauge init ~/shop --account Acme --service-url https://keys.example.com"),
)
@click.argument("folder", type=click.Path(path_type=Path), default=Path())
@click.option("--account", metavar="NAME", help="The account's name (default: the folder's).")
@click.option("--service-url", default=SERVICE_URL, show_default=True, help="The key service's URL.")
def init(folder: Path, account: str | None, service_url: str) -> None:
    """Set up KeyGauge for an existing service in FOLDER (default: the current one).

    Creates a plan, an account and a key, writes the service's settings to keygauge.env, and shows the line to add to
    the app found in the folder. It changes none of your files. Run it where 'keygauge serve' runs, or with the same
    KEYGAUGE_DATABASE_URL or KEYGAUGE_DATA_DIR.
    """
    folder = folder.resolve()  # without "..": its name is the account's
    if not folder.is_dir():
        raise CommandError(f"{folder} is not a folder: use the folder of your service")
    file = folder / _FILE
    if file.exists():
        raise CommandError(f"{file} already exists: remove it to create another key, or keep using it")
    name = checked_name(account or folder.name or "service")
    with connected() as connection:
        given = Settings.from_environment()
        pepper_check.compare(connection, given.peppers)
        found = _account(connection, name)
        key, token = keys.create(
            connection,
            peppers=given.peppers,
            account_id=found.id,
            name="init",
            environment="test",
            expires_at=None,
            actor=ACTOR,
            by_operator=True,
            most=given.account_keys_max,
        )
        _write(file, service_url, given.service_token, token)
    click.echo(f"Plan {found.plan_id}, account {found.name} ({found.id}), key {key.id}.")
    click.echo(f"{file} holds the settings and the key. Keep it out of version control.\n")
    click.echo(_steps(folder, found.id))


def _account(connection: Connection, name: str) -> accounts.Account:
    """Return the account with a name; create it, and its plan, if it does not exist.

    Raises:
        CommandError: several accounts have this name.
    """
    found = [account for account in accounts.list_accounts(connection) if account.name == name]
    if len(found) > 1:
        raise CommandError(f"more than one account is named {name!r}: use --account with another name")
    if found:
        return found[0]
    if _PLAN not in {plan.id for plan in plans.list_plans(connection)}:
        plans.create(connection, plan_id=_PLAN, name="Starter", limits=_LIMITS, actor=ACTOR)
    return accounts.create(connection, name=name, plan_id=_PLAN, actor=ACTOR)


def _write(file: Path, service_url: str, service_token: str, key: str) -> None:
    """Write the settings file, readable by this user only.

    Raises:
        CommandError: it cannot be written; the transaction is then rolled back.
    """
    values = {"KEYGAUGE_SERVICE_URL": service_url, "KEYGAUGE_SERVICE_TOKEN": service_token, "API_KEY": key}
    text = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in values.items())
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as error:
        raise CommandError(f"{file} cannot be written ({error.strerror}): make its folder writable") from error


def _steps(folder: Path, account_id: str) -> str:
    found = project.find(folder)
    if found is None:
        change = f"No app of a known framework is in {folder}. Where yours is made, add\n\n    {_ANY_FRAMEWORK}"
        start = "# the command that you start it with"
    else:
        where = found.file.relative_to(folder)
        change = f"{found.framework.name}: in {where}, after the app is made, add\n\n"
        change += f"    {found.framework.imported}\n\n    {found.line}"
        start = found.start(folder)
    return (
        f"1. {change}\n\n2. Start it in {folder}:\n\n    . ./{_FILE}\n    {start}\n\n"
        "3. Call one of its paths with the key, and look at the call:\n\n"
        '    curl --include http://127.0.0.1:8000/ --header "Authorization: Bearer $API_KEY"\n'
        f"    keygauge usage --account {account_id}  # here, a second later"
    )
