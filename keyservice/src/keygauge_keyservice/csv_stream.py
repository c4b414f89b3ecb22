"""CSV written row by row, in which no cell becomes a formula when a spreadsheet opens it."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

_ROWS = 500  # in one piece
# https://owasp.org/www-community/attacks/CSV_Injection, and the signs' full-width forms. Where a comma is the decimal
# sign, spreadsheets begin a cell at each semicolon, and do so within quotes.
_formula_start = re.compile(
    r"^(?=[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20])|(?<=[;\t\r\n])(?=[^\S\t\r\n]*[=+\-@\uff1d\uff0b\uff0d\uff20])"
)


class _Line:
    """Keep what `csv.writer` wrote last."""

    def write(self, text: str) -> str:
        return text


def write_csv(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """Yield a header and rows as text, a few hundred rows at a time."""
    write = csv.writer(_Line()).writerow
    piece = [write(names)]
    for row in rows:
        piece.append(write([cell(value) for value in row]))
        if len(piece) == _ROWS:
            yield "".join(piece)
            piece.clear()
    if piece:
        yield "".join(piece)


def cell(value: object) -> str | int | float:
    """Write a value for a CSV cell; a text that a spreadsheet would run gets a quote in front."""
    if value is None:
        return ""
    if isinstance(value, int | float):
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, dict):
        return json.dumps(value)
    return _formula_start.sub("'", str(value))


def usd(cost_nanousd: int | None) -> Decimal | None:
    """Write a cost in US dollars, to the last nano-dollar."""
    return None if cost_nanousd is None else Decimal(cost_nanousd).scaleb(-9)
