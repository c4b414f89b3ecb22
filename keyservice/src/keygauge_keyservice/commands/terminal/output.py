"""Output of commands: a table in a terminal, tab-separated lines in a pipe, JSON, CSV, or ids only."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import chain, islice
from typing import Any, Literal

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from keygauge_keyservice.commands.connection.document import Document

Form = Literal["table", "json", "csv"]

_UNBOUNDED = 10_000  # columns; a table takes only what it needs


@dataclass(frozen=True)
class Column:
    """A column of a list, or a line of a single item: its title, and how to read its value from a document."""

    title: str
    read: Callable[[Document], object]
    is_number: bool = False


def column(name: str, title: str | None = None) -> Column:
    """Return a column for a plain field; lists are joined."""
    return Column(title or name.replace("_", " "), lambda document: document[name])


def number(name: str, title: str | None = None) -> Column:
    """Return a column for a number."""
    return Column(title or name.replace("_", " "), lambda document: document[name], is_number=True)


def time(name: str, title: str | None = None) -> Column:
    """Return a column for a time, in UTC."""
    return Column(title or name.removesuffix("_at").replace("_", " "), lambda document: parse_time(document[name]))


def usd(name: str, title: str | None = None) -> Column:
    """Return a column for an amount of nano-USD, in dollars."""
    return Column(
        title or name.removesuffix("_nanousd").replace("_", " "),
        lambda document: None if document[name] is None else Decimal(document[name]).scaleb(-9),
        is_number=True,
    )


def parse_time(text: str | None) -> datetime | None:
    """Parse a time from the API."""
    return None if text is None else datetime.fromisoformat(text)


@dataclass(frozen=True)
class Output:
    """How a command prints."""

    form: Form = "table"
    is_quiet: bool = False

    def items(
        self, name: str, items: Iterable[Document], columns: Sequence[Column], *, key: str = "id", title: str = ""
    ) -> None:
        """Print a list; `name` is its field in the API's document, `key` the field that --quiet prints."""
        if self.is_quiet:
            for item in items:
                click.echo(item[key])
        elif self.form == "json":
            self.document({name: list(items), "next": None})
        elif self.form == "csv":
            self._csv(_ready(items), columns)
        else:
            self._table(_ready(items), columns, title)

    def follow(self, items: Iterable[Document], columns: Sequence[Column]) -> None:
        """Print items one by one as they come; JSON has one object per line."""
        if self.is_quiet:
            for item in items:
                click.echo(item["id"])
        elif self.form == "json":
            for item in items:
                click.echo(json.dumps(item, ensure_ascii=False))
        elif self.form == "csv":
            self._csv(items, columns)
        else:
            _print_lines(
                [one.title.upper() for one in columns], ([text(one.read(item)) for one in columns] for item in items)
            )

    def item(self, document: Document, columns: Sequence[Column], *, key: str = "id") -> None:
        """Print a single item, one field per line."""
        if self.is_quiet:
            click.echo(document[key])
        elif self.form == "json":
            self.document(document)
        elif self.form == "csv":
            self._csv([document], columns)
        else:
            rows = [{"field": one.title, "value": text(one.read(document))} for one in columns]
            self._rows(["", ""], [[row["field"], row["value"]] for row in rows], [False, False], "")

    def document(self, document: Any) -> None:
        """Print the API's document."""
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))

    def note(self, words: str) -> None:
        """Print a message on standard error; standard output is for programs."""
        click.echo(words, err=True)

    @staticmethod
    def _csv(items: Iterable[Document], columns: Sequence[Column]) -> None:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow([one.title.lower().replace(" ", "_").replace("-", "_") for one in columns])
        for item in items:
            writer.writerow([_raw(one.read(item)) for one in columns])
            sys.stdout.flush()

    def _table(self, items: Iterable[Document], columns: Sequence[Column], title: str) -> None:
        rows = ([text(one.read(item)) for one in columns] for item in items)
        self._rows([one.title for one in columns], rows, [one.is_number for one in columns], title)

    @staticmethod
    def _rows(titles: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[bool], title: str) -> None:
        """Print a table; in a pipe, tab-separated lines."""
        if not sys.stdout.isatty():
            if any(titles):
                click.echo("\t".join(one.upper() for one in titles))
            for row in rows:
                click.echo("\t".join(" ".join(cell.split()) if "\n" in cell or "\t" in cell else cell for cell in row))
            return
        table = Table(box=box.SIMPLE_HEAD, title=title or None, show_header=any(titles), pad_edge=False)
        for name, is_number in zip(titles, numbers, strict=True):
            table.add_column(name, justify="right" if is_number else "left", overflow="fold")
        for row in rows:
            table.add_row(*map(Text, row))
        Console().print(table)


def _ready(items: Iterable[Document]) -> Iterator[Document]:
    """Return the items once the first is there, so that a refusal comes before any output."""
    iterator = iter(items)
    return chain(list(islice(iterator, 1)), iterator)


def _print_lines(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print lines as they come: tab-separated in a pipe, else padded to the widest cells so far."""
    is_terminal, widths = sys.stdout.isatty(), [0] * len(titles)
    for row in chain([titles], rows):
        widths = [max(width, len(cell)) for width, cell in zip(widths, row, strict=True)]
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)] if is_terminal else row
        click.echo(("  " if is_terminal else "\t").join(cells).rstrip())


def output() -> Console:
    """Return a console as wide as the terminal; in a pipe or file nothing is wrapped or cut."""
    return Console(width=None if sys.stdout.isatty() else _UNBOUNDED)


def text(value: object) -> str:
    """Format a value for people."""
    if value is None or value in ("", [], ()):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
    if isinstance(value, Decimal):
        return dollars(value)
    if isinstance(value, int) and sys.stdout.isatty():
        return f"{value:,}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return str(value)


def dollars(amount: Decimal) -> str:
    """Format dollars with two decimal places, or more if needed."""
    digits = max(2, -int(amount.normalize().as_tuple().exponent))
    return f"{'-' if amount < 0 else ''}${abs(amount):,.{digits}f}"


def _raw(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return f"{value:f}"
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else value
