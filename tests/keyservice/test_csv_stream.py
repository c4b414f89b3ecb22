import csv
import io
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from keygauge_keyservice.csv_stream import cell, usd, write_csv


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@sum", "\tx", "\rx", "\nx", "\uff1d1+1", "\uff20sum"])
def test_text_that_a_spreadsheet_would_evaluate_is_quoted(text):
    assert cell(text) == f"'{text}"


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a;=cmd|' /C calc'!A0", "a;'=cmd|' /C calc'!A0"),
        ("=1;=2", "'=1;'=2"),
        ("a; @sum", "a;' @sum"),
        ("a\n+1", "a\n'+1"),
        ("a;\uff1d1", "a;'\uff1d1"),
        ("a;b-c=d", "a;b-c=d"),
    ],
)
def test_formulas_after_a_semicolon_or_newline_are_quoted(text, written):
    assert cell(text) == written


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, ""),
        (-5, -5),
        ("plain", "plain"),
        (Decimal("0.000000001"), "0.000000001"),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00+00:00"),
    ],
)
def test_harmless_values_are_unchanged(value, written):
    assert cell(value) == written


def test_costs_are_exact_to_the_nanodollar():
    assert str(cell(usd(12_345_678_901))) == "12.345678901"
    assert usd(None) is None


def test_rows_are_streamed_in_chunks_without_loss():
    pieces = list(write_csv(["n", "text"], ([number, 'a,"b"'] for number in range(1_200))))
    assert len(pieces) == 3
    rows = list(csv.reader(io.StringIO("".join(pieces))))
    assert rows[0] == ["n", "text"]
    assert rows[1:] == [[str(number), 'a,"b"'] for number in range(1_200)]
