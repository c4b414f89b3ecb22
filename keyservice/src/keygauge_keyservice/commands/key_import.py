"""`keygauge keys import` and `keygauge import litellm`: import keys issued by another system."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import psycopg

from keygauge.command_line.command import CommandError, Noun, Verb
from keygauge.command_line.count import counted
from keygauge_keyservice import config
from keygauge_keyservice.accounts import plans
from keygauge_keyservice.commands.connection.session import ACTOR, connected
from keygauge_keyservice.commands.terminal.options import account_option
from keygauge_keyservice.commands.terminal.output import output
from keygauge_keyservice.keys import key_import, litellm, pepper_check
from keygauge_keyservice.values import time_zone

_LISTS = ("models", "tools", "routes", "networks", "scopes", "limits")
_FLAGS = {"": False, "0": False, "false": False, "no": False, "1": True, "true": True, "yes": True}
_is_table_row = re.compile(r"[\s,;\"{}]").search
_REMINDER = "Set KEYGAUGE_IMPORTED_KEYS=1 for the services that clients call with these keys."


def _take_over_options(function: Callable[..., Any]) -> Callable[..., Any]:
    plan = click.option("--plan", help="The plan for accounts that don't exist yet; without it, they are an error.")
    dry_run = click.option("--dry-run", is_flag=True, help="Check everything, change nothing.")
    return plan(dry_run(function))


@click.command(
    "import",
    cls=Verb,
    examples=(
        "keygauge keys import keys.csv --plan starter --dry-run",
        "keygauge keys import keys.txt --account Acme",
    ),
)
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "--format", "form", type=click.Choice(["csv", "json", "list"]), help="csv, json or list (default: by file name)."
)
@click.option(
    "--lines",
    type=click.Choice(["keys", "hashes"]),
    help="What a list consists of: keys (the default) or their SHA-256. Required where a line may be either.",
)
@account_option("The account for keys that name none.")
@_take_over_options
def import_keys(
    file: Path, form: str | None, lines: str | None, account: str | None, plan: str | None, *, dry_run: bool
) -> None:
    """Import keys from another system; clients keep them. Needs direct access to the database.

    FILE is CSV with a header or JSON (a list of objects); - is standard input. Columns: hash (SHA-256 of the key,
    hexadecimal or base64) or key, and optionally name, account (id or name), environment, expires_at, models, routes,
    networks, scopes, limits (as for --limit), app, disabled; lists in CSV are separated by semicolons. Any other
    file is a list of keys or hashes, one per line. All are imported or none; existing keys stay unchanged.
    """
    rows = ((where, _with_account(where, row, account)) for where, row in _rows(file, form, lines))
    _take_over(rows, plan=plan, is_dry_run=dry_run)


@click.group("import", cls=Noun)
def import_() -> None:
    """Import keys from another system."""


@import_.command(
    "litellm",
    examples=("keygauge import litellm --database postgresql://litellm@db/litellm --plan starter --dry-run",),
)
@click.option("--database", required=True, metavar="URL", help="LiteLLM's DATABASE_URL.")
@click.option("--zone", metavar="NAME", help="The timezone in LiteLLM's settings, by which its budgets reset.")
@_take_over_options
def _import_litellm(database: str, zone: str | None, plan: str | None, *, dry_run: bool) -> None:
    """Import teams, users, keys and their limits from LiteLLM's database.

    Creates an account for each team, and for each user with keys but no team, and imports the keys with their models,
    limits, budgets, and expiry. What differs from LiteLLM is listed. LiteLLM's database is only read; past spend stays
    there.
    """
    if zone is not None and time_zone.find(zone) is None:
        raise CommandError(f"{zone!r} is not a time zone: use an IANA name such as Europe/Berlin")
    try:
        rows, notes = litellm.read(database, zone=zone)
    except litellm.NotLiteLLMError as error:
        raise CommandError(f"this is not LiteLLM's database ({error}): use LiteLLM's DATABASE_URL") from error
    except psycopg.Error as error:
        cause = str(error).partition("\n")[0]
        raise CommandError(f"LiteLLM's database cannot be read ({cause}): check the address") from error
    _take_over(((f"key {row['name']}", row) for row in rows), plan=plan, is_dry_run=dry_run)
    for note in notes:
        output().print(f"note: {note}", highlight=False, markup=False)


def _take_over(rows: Iterable[tuple[str, Mapping[str, Any]]], *, plan: str | None, is_dry_run: bool) -> None:
    with connected() as connection, connection.transaction(force_rollback=is_dry_run):
        if plan is not None and plans.find(connection, plan) is None:
            raise CommandError(f"there is no plan {plan!r}: create it with 'keygauge plans create {plan}'")
        peppers, most = config.peppers(), config.account_keys_max()
        pepper_check.compare(connection, peppers)
        done = key_import.take_over(connection, rows, peppers=peppers, plan_id=plan, actor=ACTOR, most=most)
    _print_summary(done, "would be " if is_dry_run else "")


def _print_summary(done: key_import.Imported, would: str) -> None:
    console = output()
    made = f", {counted(len(done.accounts), 'account')} {would}created" if done.accounts else ""
    console.print(
        f"{counted(len(done.created), 'key')} {would}imported, {done.present:,} already existed{made}.", highlight=False
    )
    if done.created and not would:
        console.print(_REMINDER, highlight=False)


def _with_account(where: str, row: Mapping[str, Any], account: str | None) -> dict[str, Any]:
    if row.get("account"):
        return dict(row)
    if account is None:
        raise CommandError(f"{where}: the key has no account: use --account for those")
    return {**row, "account": account}


def _rows(file: Path, form: str | None, lines: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a file's rows, each with its position for messages.

    Raises:
        CommandError: the file cannot be read in its format.
    """
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise CommandError(f"{file} cannot be read ({error.strerror}): use a UTF-8 text file") from error
    except UnicodeDecodeError as error:
        raise CommandError(f"{file} cannot be read ({error}): use a UTF-8 text file") from error
    form = form or {".csv": "csv", ".json": "json"}.get(file.suffix.lower(), "list")
    if form == "list":
        return _from_list(text, str(file), lines)
    return {"csv": _from_csv, "json": _from_json}[form](text, str(file))


def _from_csv(text: str, file: str) -> Iterator[tuple[str, dict[str, Any]]]:
    reader = csv.DictReader(text.splitlines(), strict=True)
    try:
        _check_columns([name.strip() for name in reader.fieldnames or ()], file)
        for row in reader:
            where = f"{file}, line {reader.line_num}"
            if None in row or None in row.values():
                raise CommandError(f"{where}: it doesn't have as many columns as the header")
            yield where, _typed({name.strip(): value.strip() for name, value in row.items() if value.strip()}, where)
    except csv.Error as error:
        raise CommandError(f"{file}, line {reader.line_num}: {error}") from error


def _check_columns(names: list[str], file: str) -> None:
    if len(names) == 1 and (";" in names[0] or "\t" in names[0]):
        raise CommandError(f"{file}, line 1: columns are separated by commas")
    for name in names:
        if names.count(name) > 1:
            raise CommandError(f"{file}, line 1: there are {names.count(name)} columns {name!r}: use one")


def _typed(row: dict[str, Any], where: str) -> dict[str, Any]:
    for name in _LISTS:
        if name in row:
            row[name] = [part.strip() for part in row[name].split(";") if part.strip()]
    if "disabled" in row:
        if row["disabled"].lower() not in _FLAGS:
            raise CommandError(f"{where}: disabled is {row['disabled']!r}: use true or false")
        row["disabled"] = _FLAGS[row["disabled"].lower()]
    return row


def _from_json(text: str, file: str) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        items = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CommandError(f"{file} is not JSON: {error}") from error
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise CommandError(f"{file}: use a list of objects, one per key")
    for number, item in enumerate(items):
        limits = item.get("limits") or []
        if not isinstance(limits, list) or not all(isinstance(limit, str) for limit in limits):
            raise CommandError(f"{file}, [{number}]: limits must be a list such as ['rpm=60:request:60s']")
        yield f"{file}, [{number}]", item


def _from_list(text: str, file: str, lines: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a row per line: a key, or a SHA-256 taken for a key, would admit whoever has seen the hash."""
    column = "hash" if lines == "hashes" else "key"
    for number, line in enumerate(text.splitlines(), 1):
        token, where = line.strip(), f"{file}, line {number}"
        if not token or token.startswith("#"):
            continue
        if _is_table_row(token):
            raise CommandError(f"{where}: there is more than a key: use --format csv or --format json for a table")
        if lines is None and key_import.may_be_hash(token):
            raise CommandError(f"{where}: this may be a key or the SHA-256 of one: use --lines keys or --lines hashes")
        yield where, {column: token, "name": f"imported {number}"}
