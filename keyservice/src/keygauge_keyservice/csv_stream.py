"""CSV output row by row, in which spreadsheets run no cell as a formula."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

_ROWS = 500  # per chunk
# https://owasp.org/www-community/attacks/CSV_Injection, plus the full-width forms of these characters. In locales with
# a decimal comma, spreadsheets start a new cell at each semicolon, even within quotes.
_formula_start = re.compile(
    r"^(?=[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20])|(?<=[;\t\r\n])(?=[^\S\t\r\n]*[=+\-@\uff1d\uff0b\uff0d\uff20])"
)


class _Line:
    """A file-like object that lets `csv.writer` return each line."""

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
    """Return a value for a CSV cell; a quote is put before text that a spreadsheet would run as a formula."""
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
    """Convert nano-USD to US dollars without rounding."""
    return None if cost_nanousd is None else Decimal(cost_nanousd).scaleb(-9)
