"""`keygauge notifications`: list, create, show, update, delete and test them, and list deliveries."""

from __future__ import annotations

from typing import get_args

import click

from keygauge.command import Noun
from keygauge_keyservice.commands.client import Api
from keygauge_keyservice.commands.names import account_id, find_account
from keygauge_keyservice.commands.options import account_option, most_option, verb
from keygauge_keyservice.commands.output import Output, column, number, time
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
    "--event", "events", type=click.Choice(KINDS), multiple=True, help="What to tell; may be given again."
)


@click.group(cls=Noun)
def notifications() -> None:
    """Choose what accounts are told by e-mail, webhook, Slack or Discord, and see the deliveries."""


@verb(notifications, "list", examples=("keygauge notifications list --account Acme",))
@account_option()
@most_option()
def _list(*, api: Api, output: Output, account: str, most: int | None) -> None:
    """List where an account is told what."""
    path = ("accounts", str(account_id(api, account)), "notifications")
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
@click.option("--type", "way", type=click.Choice(get_args(Form)), required=True, help="How to tell.")
@_EVENTS
def _create(*, api: Api, output: Output, target: str, account: str, way: str, events: tuple[str, ...]) -> None:
    """Tell an account of all events, or of some. A webhook's secret is printed this once, alone on standard output."""
    body = {"type": way, "target": target, "events": list(events or KINDS)}
    made = api.post("accounts", find_account(api, account)["id"], "notifications", body=body)
    if made["secret"] is None or output.is_quiet or output.form != "table":
        output.item(made, _COLUMNS)
        return
    output.note(f"Notification {made['id']}: copy the secret that its webhooks are signed with now.")
    click.echo(made["secret"])


@verb(notifications, "show", examples=("keygauge notifications show 7 --account Acme",))
@click.argument("notification", metavar="ID")
@account_option()
def _show(*, api: Api, output: Output, notification: str, account: str) -> None:
    """Show a notification."""
    output.item(api.get(*_path(api, account, notification)), _COLUMNS)


@verb(notifications, "update", examples=("keygauge notifications update 7 --account Acme --event quota",))
@click.argument("notification", metavar="ID")
@account_option()
@_EVENTS
def _update(*, api: Api, output: Output, notification: str, account: str, events: tuple[str, ...]) -> None:
    """Change what is told: the events that are given, and no others."""
    if not events:
        raise click.UsageError("Say what to tell: --event, once or more.")
    output.item(api.patch(*_path(api, account, notification), body={"events": list(events)}), _COLUMNS)


@verb(notifications, "delete", examples=("keygauge notifications delete 7 --account Acme",))
@click.argument("notification", metavar="ID")
@account_option()
def _delete(*, api: Api, output: Output, notification: str, account: str) -> None:
    """Remove a notification."""
    api.delete(*_path(api, account, notification))
    output.note(f"Removed notification {notification}.")


@verb(notifications, "test", examples=("keygauge notifications test 7 --account Acme",))
@click.argument("notification", metavar="ID")
@account_option()
def _test(*, api: Api, output: Output, notification: str, account: str) -> None:
    """Send a test; `keygauge notifications deliveries` shows how it went."""
    made = api.post(*_path(api, account, notification), "tests")
    output.note(f"A test of notification {notification} is sent within seconds.")
    click.echo(made["delivery"])


@verb(
    notifications,
    "deliveries",
    examples=("keygauge notifications deliveries --account Acme --status failed",),
)
@account_option()
@click.option("--notification", metavar="ID", help="Only deliveries of this notification.")
@click.option("--status", type=click.Choice(get_args(Status)), help="Only deliveries in this state.")
@most_option(50)
def _deliveries(
    *, api: Api, output: Output, account: str, notification: str | None, status: str | None, most: int
) -> None:
    """List deliveries, newest first."""
    path = ("accounts", str(account_id(api, account)), "deliveries")
    found = api.all(*path, field="deliveries", most=most, notification=notification, status=status)
    output.items("deliveries", found, _DELIVERIES)


def _path(api: Api, account: str, notification: str) -> tuple[str, ...]:
    return "accounts", str(find_account(api, account)["id"]), "notifications", notification
