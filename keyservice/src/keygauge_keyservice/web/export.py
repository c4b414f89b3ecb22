"""Export of a page's table as CSV or JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any

from flask import Response, jsonify, request

from keygauge_keyservice.csv_stream import write_csv

_BOM = "\ufeff"  # some spreadsheets recognize UTF-8 only with it


def as_csv(name: str, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> Response:
    """Return rows as a CSV file named after the table; `?bom=1` adds a byte order mark."""
    return Response(
        _marked(write_csv(names, rows)) if request.args.get("bom") == "1" else write_csv(names, rows),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}.csv"'},
    )


def as_json(name: str, rows: Iterable[Mapping[str, Any]]) -> Response:
    """Return rows as a JSON list of objects, keyed by the table's name."""
    return jsonify({name: [{field: _plain(value) for field, value in row.items()} for row in rows]})


def _marked(pieces: Iterator[str]) -> Iterator[str]:
    yield _BOM
    yield from pieces


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, date) else value
