"""`keygauge keys import` and `keygauge import litellm`: keys that another system issued."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg

from keygauge.command import CommandError, Subparsers
from keygauge_keyservice import config
from keygauge_keyservice.commands.output import output
from keygauge_keyservice.commands.session import ACTOR, connected, told_plainly
from keygauge_keyservice.keys import key_import, litellm, pepper_check

_LISTS = ("models", "routes", "networks", "scopes", "limits")
_FLAGS = {"": False, "0": False, "false": False, "no": False, "1": True, "true": True, "yes": True}
_REMINDER = "Set KEYGAUGE_IMPORTED_KEYS=1 for the services that clients call with these keys."


def add_verb(verbs: Subparsers) -> None:
    """Add `import` to `keygauge keys`."""
    parser = verbs.add_parser(
        "import",
        help="take over keys of another system; clients keep them",
        description="Read keys from a file: CSV with a header or JSON (a list of objects). Columns: hash (SHA-256 of "
        "the key, hexadecimal or base64) or key, and as wished name, account (id or name), environment, expires_at, "
        "models, routes, networks, scopes, limits (as --limit has them), app, disabled; lists in CSV are separated by "
        "semicolons. Any other file is a list of keys, one per line. All are taken over or none; those that are here "
        "already stay as they are.",
    )
    parser.add_argument("file", type=Path, help="the file; - for standard input")
    parser.add_argument("--format", choices=("csv", "json", "list"), help="default: by the file's name")
    parser.add_argument("--account", help="the account of keys that name none: its id or name")
    _add_options(parser)
    parser.set_defaults(run=_run)


def register(subparsers: Subparsers) -> None:
    """Add `keygauge import`."""
    parser = subparsers.add_parser("import", help="take over what another system keeps")
    verbs = parser.add_subparsers(required=True, metavar="SYSTEM")
    from_litellm = verbs.add_parser(
        "litellm",
        help="teams, users, keys and their limits from LiteLLM's database",
        description="Make an account of each team, and of each user who has keys without a team, and take over the "
        "keys with their models, limits, budgets by day or month, and expiry. LiteLLM's database is only read; past "
        "spend stays there.",
    )
    from_litellm.add_argument("--database", required=True, metavar="URL", help="LiteLLM's DATABASE_URL")
    _add_options(from_litellm)
    from_litellm.set_defaults(run=_run_litellm)


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--plan", help="the plan of accounts that are not there yet; without it they are an error")
    parser.add_argument("--dry-run", action="store_true", help="check everything and change nothing")


def _run(arguments: argparse.Namespace) -> int:
    rows = ((where, _with_account(row, arguments.account)) for where, row in _rows(arguments.file, arguments.format))
    return _take_over(arguments, rows)


def _run_litellm(arguments: argparse.Namespace) -> int:
    try:
        rows, notes = litellm.read(arguments.database)
    except litellm.NotLiteLLMError as error:
        raise CommandError(f"this is not LiteLLM's database ({error}): give its DATABASE_URL") from error
    except psycopg.Error as error:
        cause = str(error).partition("\n")[0]
        raise CommandError(f"LiteLLM's database cannot be read ({cause}): is the address right?") from error
    code = _take_over(arguments, ((f"key {row['name']}", row) for row in rows))
    for note in notes:
        output().print(f"not taken over: {note}", highlight=False, markup=False)
    return code


def _take_over(arguments: argparse.Namespace, rows: Iterable[tuple[str, Mapping[str, Any]]]) -> int:
    with told_plainly():
        peppers = config.peppers()
    with connected() as connection, connection.transaction(force_rollback=arguments.dry_run):
        pepper_check.compare(connection, peppers)
        given = {"peppers": peppers, "plan_id": arguments.plan, "actor": ACTOR}
        done = key_import.take_over(connection, rows, **given)
    _tell(done, "would be " if arguments.dry_run else "")
    return 0


def _tell(done: key_import.Imported, would: str) -> None:
    console = output()
    made = f", {len(done.accounts)} accounts {would}created" if done.accounts else ""
    console.print(f"{len(done.created)} keys {would}imported, {done.present} were here already{made}.", highlight=False)
    if done.created and not would:
        console.print(_REMINDER, highlight=False)


def _with_account(row: Mapping[str, Any], account: str | None) -> dict[str, Any]:
    if row.get("account"):
        return dict(row)
    if account is None:
        raise CommandError("a key names no account: give the one of those with --account")
    return {**row, "account": account}


def _rows(file: Path, form: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Read a file's rows, each with where it is.

    Raises:
        CommandError: it cannot be read as what it should be.
    """
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{file} cannot be read ({error}): give a file of text in UTF-8") from error
    form = form or {".csv": "csv", ".json": "json"}.get(file.suffix.lower(), "list")
    readers = {"csv": _from_csv, "json": _from_json, "list": _from_list}
    return readers[form](text, str(file))


def _from_csv(text: str, file: str) -> Iterator[tuple[str, dict[str, Any]]]:
    reader = csv.DictReader(text.splitlines(), strict=True)
    try:
        for row in reader:
            where = f"{file}, line {reader.line_num}"
            if None in row or None in row.values():
                raise CommandError(f"{where}: it has not as many columns as the header")
            yield where, _typed({name.strip(): value.strip() for name, value in row.items() if value.strip()}, where)
    except csv.Error as error:
        raise CommandError(f"{file}, line {reader.line_num}: {error}") from error


def _typed(row: dict[str, Any], where: str) -> dict[str, Any]:
    for name in _LISTS:
        if name in row:
            row[name] = [part.strip() for part in row[name].split(";") if part.strip()]
    if "disabled" in row:
        if row["disabled"].lower() not in _FLAGS:
            raise CommandError(f"{where}: disabled is {row['disabled']!r}: give true or false")
        row["disabled"] = _FLAGS[row["disabled"].lower()]
    return row


def _from_json(text: str, file: str) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        items = json.loads(text)
    except ValueError as error:
        raise CommandError(f"{file} is no JSON: {error}") from error
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise CommandError(f"{file}: give a list of objects, one per key")
    for number, item in enumerate(items):
        limits = item.get("limits") or []
        if not isinstance(limits, list) or not all(isinstance(limit, str) for limit in limits):
            raise CommandError(f"{file}, [{number}]: limits must be a list such as ['rpm=60:request:60s']")
        yield f"{file}, [{number}]", item


def _from_list(text: str, file: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(text.splitlines(), 1):
        token = line.strip()
        if token and not token.startswith("#"):
            yield f"{file}, line {number}", {"key": token, "name": f"imported {number}"}
