"""Lookup of resources by id or name."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

import click

from keygauge.command_line.command import CommandError
from keygauge_keyservice.commands.connection.client import NOT_FOUND, Api, ApiError
from keygauge_keyservice.commands.connection.document import Document

_SHOWN_MAX = 5
_is_id = re.compile(r"[A-Za-z0-9_-]{1,40}", re.ASCII).fullmatch
_is_pasted = re.compile(r"kg_[a-z]+_([0-9A-Za-z]{12})", re.ASCII).match


def find_account(api: Api, given: str | None) -> Document:
    """Return an account by its id or name; without one, the only account that the token reaches.

    Raises:
        click.UsageError: none is given, and there are others, or none.
    """
    if given is None:
        return _own_account(api)
    if (found := _by_id(api, "accounts", given)) is not None:
        return found
    return _only("account", given, list(api.all("accounts", field="accounts", most=_SHOWN_MAX, name=given)))


def account_id(api: Api, given: str | None) -> str | None:
    """Return an account's id by its id or name, or None if none is given."""
    return None if given is None else str(find_account(api, given)["id"])


def find_key(api: Api, given: str, account: str | None) -> Document:
    """Return a key by its id, its pasted prefix, or its name, in one account or all."""
    if (pasted := _is_pasted(given)) is not None:
        given = pasted[1]
    of_account = account_id(api, account)
    if (found := _by_id(api, "keys", given)) is not None and of_account in {None, found["account"]}:
        return found
    return _only("key", given, list(api.all("keys", field="keys", most=_SHOWN_MAX, name=given, account=of_account)))


def find_plan(api: Api, given: str) -> Document:
    """Return a plan by its id or name."""
    if (found := _by_id(api, "plans", given)) is not None:
        return found
    return _only("plan", given, list(api.all("plans", field="plans", most=_SHOWN_MAX, name=given)))


def find_among(noun: str, given: str, items: Sequence[Document], *, name: str = "name") -> Document:
    """Return the list item with this id or name."""
    return _only(
        noun,
        given,
        [one for one in items if str(one["id"]) == given]
        or [one for one in items if str(one[name]).casefold() == given.casefold()],
    )


def confirm(question: str, *, is_sure: bool) -> None:
    """Ask for confirmation before an irreversible action; scripts are not asked.

    Raises:
        click.Abort: the answer is no.
    """
    if not is_sure and sys.stdin.isatty():
        click.confirm(question, abort=True, err=True)


def _own_account(api: Api) -> Document:
    found = list(api.all("accounts", field="accounts", most=2)) if api.is_remote else []
    if len(found) != 1:
        raise click.UsageError("Use --account ID or NAME.", click.get_current_context(silent=True))
    return found[0]


def _by_id(api: Api, noun: str, given: str) -> Document | None:
    if not _is_id(given):
        return None
    try:
        return api.get(noun, given)
    except ApiError as error:
        if error.status != NOT_FOUND:
            raise
    return None


def _only(noun: str, given: str, found: Sequence[Document]) -> Document:
    if not found:
        raise CommandError(f"There is no {noun} {given!r}: 'keygauge {noun}s list' shows them.")
    if len(found) > 1:
        ids = ", ".join(str(one["id"]) for one in found)
        raise CommandError(f"More than one {noun} is named {given!r}: use the id instead: {ids}.")
    return found[0]
