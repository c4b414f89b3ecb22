"""Options and parameter types shared by all verbs: the key service's URL, output, and value types."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import Any

import click

from keygauge.command_line.command import Noun, Verb
from keygauge_keyservice.commands.connection.client import connect
from keygauge_keyservice.commands.terminal.output import Form, Output
from keygauge_keyservice.values.durations import parse_duration
from keygauge_keyservice.values.money import parse_usd

_NANOUSD = 10**9
_USD_MAX = 10**6
_starts_with_date = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}").match

_Function = Callable[..., Any]


def verb(
    noun: Noun, name: str, *, examples: Sequence[str], makes_secrets: bool = False
) -> Callable[[_Function], click.Command]:
    """Create a verb that calls the API; its function receives `api`, `output` and its own options."""
    return lambda function: noun.command(name, examples=examples)(_calling(function, makes_secrets=makes_secrets))


def standalone(name: str, *, examples: Sequence[str]) -> Callable[[_Function], click.Command]:
    """Create a command without verbs that calls the API."""
    return lambda function: click.command(name, cls=Verb, examples=examples)(_calling(function, makes_secrets=False))


def _calling(function: _Function, *, makes_secrets: bool) -> _Function:
    @click.option("--url", envvar="KEYGAUGE_URL", help="A key service's URL [KEYGAUGE_URL]; default: the database.")
    @click.option(
        "--token",
        "bearer",
        envvar=["KEYGAUGE_TOKEN", "KEYGAUGE_ADMIN_TOKEN"],
        help="Its token, or your account's; prefer KEYGAUGE_TOKEN.",
    )
    @output_options
    @wraps(function)
    def run(*, url: str | None, bearer: str | None, **given: Any) -> Any:
        with connect(url, bearer, makes_secrets=makes_secrets) as api:
            return function(api=api, **given)

    declared = run.__click_params__  # type: ignore[attr-defined]  # set by Click, in reverse order
    declared[:] = [*declared[-4:], *declared[:-4]]  # so that the verb's own options come first
    return run


def output_options(function: _Function) -> _Function:
    """Add `--output` and `--quiet`; the function receives `output`."""

    @click.option(
        "-o", "--output", "form", type=click.Choice(["table", "json", "csv"]), default="table", help="Output format."
    )
    @click.option("-q", "--quiet", is_flag=True, help="Print ids only.")
    @wraps(function)
    def run(*, form: Form, quiet: bool, **given: Any) -> Any:
        return function(output=Output(form, quiet), **given)

    return run


def account_option(text: str = "The account; not needed with its own token.") -> Callable[[_Function], _Function]:
    """Add the `--account` option."""
    return click.option("-a", "--account", metavar="ID|NAME", help=text)


def most_option(default: int | None = None) -> Callable[[_Function], _Function]:
    """Add the `--limit` option of a list."""
    note = f"(default: {default})" if default else "(default: all)"
    return click.option(
        "--limit",
        "most",
        type=click.IntRange(1),
        default=default,
        metavar="N",
        help=f"How many at most {note}.",
    )


def sort_option(*names: str, default: str) -> Callable[[_Function], _Function]:
    """Add the `--sort` option of a list."""
    choices = click.Choice([*names, *(f"-{name}" for name in names)])
    shown = "|".join(names)
    text = f"Sort order; prefix with - for descending, as in --sort=-{names[0]} (default: {default})."
    return click.option("--sort", type=choices, default=default, metavar=shown, help=text)


class Time(click.ParamType):  # type: ignore[type-arg]  # generic since Click 8.4
    """A time: 2030-01-31, 2030-01-31T12:00:00Z, or a duration from now such as 7d."""

    name = "time"

    def __init__(self, *, is_past: bool = False) -> None:
        self._sign = -1 if is_past else 1

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the time in UTC, in the API's format."""
        if (seconds := parse_duration(value)) is not None:
            try:
                return (datetime.now(UTC) + self._sign * timedelta(seconds=seconds)).isoformat()
            except OverflowError:
                self.fail(f"{value!r} is out of range", param, ctx)
        try:
            if not _starts_with_date(value):
                raise ValueError  # noqa: TRY301 - the same error
            read = datetime.fromisoformat(value)
            in_utc = (read.replace(tzinfo=UTC) if _is_date(value) else read).astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is not a time: use one such as 2030-01-31, 2030-01-31T12:00:00Z or 7d", param, ctx)
        if read.tzinfo is None and not _is_date(value):
            self.fail(f"{value} has no UTC offset: end it with Z for UTC", param, ctx)
        return in_utc.isoformat()


class Duration(click.ParamType):  # type: ignore[type-arg]  # generic since Click 8.4
    """A duration: 90s, 5m, 1h, 7d."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the duration in seconds."""
        if isinstance(value, int):
            return value
        seconds = parse_duration(value)
        if seconds is None:
            self.fail(f"{value!r} is not a duration: use one such as 90s, 5m, 1h or 7d", param, ctx)
        return seconds


class Money(click.ParamType):  # type: ignore[type-arg]  # generic since Click 8.4
    """US dollars: $2.50, or 2.50."""

    name = "usd"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the amount in nano-USD."""
        if isinstance(value, int):
            return value
        amount = parse_usd(value)
        if not (isinstance(amount, int) and 0 <= amount <= _USD_MAX * _NANOUSD):
            self.fail(f"{value!r} is not an amount: use $0 to ${_USD_MAX:,}, such as $2.50", param, ctx)
        return amount


def _is_date(text: str) -> bool:
    return len(text) == len("2030-01-31")
