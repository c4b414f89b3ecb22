"""`keygauge notifications`: list, create, show, update, rotate, delete and test them, and list deliveries."""

from __future__ import annotations

from typing import Any, get_args

import click

from keygauge.command_line.command import Noun
from keygauge_keyservice.commands.connection.client import Api
from keygauge_keyservice.commands.terminal.names import find_account
from keygauge_keyservice.commands.terminal.options import account_option, most_option, sort_option, verb
from keygauge_keyservice.commands.terminal.output import Output, column, number, time
from keygauge_keyservice.notices.channels import KINDS, Form
from keygauge_keyservice.notices.outbox import Status

_COLUMNS = (
    column("id", "notification"),
    *(column(name) for name in ("type", "target", "events")),
    column("created_by", "created by"),
    time("created_at"),
)
_DELIVERIES = (
    column("id", "delivery"),
    *(column(name) for name in ("event", "subject", "status")),
    number("attempts"),
    *(time(name) for name in ("created_at", "delivered_at", "next_at")),
    column("error"),
)
_EVENTS = click.option(
    "--event", "events", type=click.Choice(KINDS), multiple=True, help="An event to notify of; repeatable."
)


@click.group(cls=Noun)
def notifications() -> None:
    """Manage notifications by e-mail, webhook, Slack and Discord, and list deliveries."""


@verb(notifications, "list", examples=("keygauge notifications list --account Acme",))
@account_option()
@most_option()
def _list(*, api: Api, output: Output, account: str | None, most: int | None) -> None:
    """List an account's notifications."""
    path = ("accounts", str(find_account(api, account)["id"]), "notifications")
    output.items("notifications", api.all(*path, field="notifications", most=most), _COLUMNS)


@verb(
    notifications,
    "create",
    examples=(
        "keygauge notifications create https://hooks.example.com/keygauge --account Acme --type webhook",
        "keygauge notifications create ada@example.com --account Acme --type email --event quota --event invoice",
    ),
)
@click.argument("target", metavar="URL|EMAIL")
@account_option()
@click.option("--type", "way", type=click.Choice(get_args(Form)), required=True, help="How to notify.")
@_EVENTS
def _create(*, api: Api, output: Output, target: str, account: str | None, way: str, events: tuple[str, ...]) -> None:
    """Notify an account of all or some events. A webhook's secret is printed once, alone on standard output."""
    body = {"type": way, "target": target, "events": list(events or KINDS)}
    made = api.post("accounts", find_account(api, account)["id"], "notifications", body=body)
    _print_issued(output, made)


@verb(notifications, "show", examples=("keygauge notifications show 7 --account Acme",))
@click.argument("notification", metavar="ID")
@account_option()
def _show(*, api: Api, output: Output, notification: str, account: str | None) -> None:
    """Show a notification."""
    output.item(api.get(*_path(api, account, notification)), _COLUMNS)


@verb(notifications, "update", examples=("keygauge notifications update 7 --account Acme --event quota",))
@click.argument("notification", metavar="ID")
@account_option()
@_EVENTS
def _update(*, api: Api, output: Output, notification: str, account: str | None, events: tuple[str, ...]) -> None:
    """Replace a notification's events."""
    if not events:
        raise click.UsageError("Choose one or more events with --event.")
    output.item(api.patch(*_path(api, account, notification), body={"events": list(events)}), _COLUMNS)


@verb(notifications, "rotate", examples=("keygauge notifications rotate 7 --account Acme",))
@click.argument("notification", metavar="ID")
@account_option()
def _rotate(*, api: Api, output: Output, notification: str, account: str | None) -> None:
    """Rotate a webhook's signing secret. For 24 hours it is signed with the old one too.

    The secret is printed once, alone on standard output.
    """
    _print_issued(output, api.post(*_path(api, account, notification), "rotate"))


@verb(notifications, "delete", examples=("keygauge notifications delete 7 --account Acme",))
@click.argument("notification", metavar="ID")
@account_option()
def _delete(*, api: Api, output: Output, notification: str, account: str | None) -> None:
    """Delete a notification."""
    api.delete(*_path(api, account, notification))
    output.note(f"Removed notification {notification}.")


@verb(notifications, "test", examples=("keygauge notifications test 7 --account Acme",))
@click.argument("notification", metavar="ID")
@account_option()
def _test(*, api: Api, output: Output, notification: str, account: str | None) -> None:
    """Send a test; `keygauge notifications deliveries` shows how it went."""
    made = api.post(*_path(api, account, notification), "tests")
    output.note(f"A test of notification {notification} will be sent within seconds.")
    click.echo(made["delivery"])


@verb(
    notifications,
    "deliveries",
    examples=("keygauge notifications deliveries --account Acme --status failed",),
)
@account_option()
@click.option("--notification", metavar="ID", help="Only deliveries of this notification.")
@click.option("--status", type=click.Choice(get_args(Status)), help="Only deliveries with this status.")
@sort_option("created", default="-created")
@most_option(50)
def _deliveries(*, api: Api, output: Output, account: str | None, most: int, **chosen: str | None) -> None:
    """List deliveries."""
    path = ("accounts", str(find_account(api, account)["id"]), "deliveries")
    found = api.all(*path, field="deliveries", most=most, **chosen)
    output.items("deliveries", found, _DELIVERIES)


def _print_issued(output: Output, notification: dict[str, Any]) -> None:
    if notification["secret"] is None or output.form == "json":
        output.item(notification, _COLUMNS)
        return
    output.note(f"Notification {notification['id']}: copy the secret that its webhooks are signed with now.")
    click.echo(notification["secret"])


def _path(api: Api, account: str | None, notification: str) -> tuple[str, ...]:
    return "accounts", str(find_account(api, account)["id"]), "notifications", notification
