import pytest
from msgspec import Struct

from keygauge_keyservice.errors import Problem
from keygauge_keyservice.reading import read
from keygauge_keyservice.values.field_types import Cursor, Name, NumberCursor, Slug, Time


class Thing(Struct):
    name: Name = "a"
    slug: Slug = "a"
    at: Time | None = None
    cursor: Cursor = "a"
    number: NumberCursor = 0


@pytest.mark.parametrize(
    "given",
    [
        {"name": "Acme & Söhne"},
        {"name": "x" * 100},
        {"slug": "a"},
        {"slug": "0a_-"},
        {"slug": "a" * 40},
        {"at": "2030-01-31T12:00:00Z"},
        {"number": 2**53 - 1},
    ],
)
def test_valid_values_are_accepted(given):
    assert isinstance(read(Thing, given), Thing)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("name", value) for value in ("", " a", "a ", "x" * 101, "a\nb", "a\x00", 3, None)),
        *(("slug", value) for value in ("", "A", "-a", "a b", "a" * 41, "é", "a\n")),
        *(("at", value) for value in ("2030-01-31", "2030-01-31T12:00:00", "soon", 3)),
        *(("cursor", value) for value in ("x" * 101, 3)),
        *(("number", value) for value in (-1, 2**63, "3", 1.5, True)),
    ],
)
def test_invalid_values_are_rejected_with_their_field(field, value):
    with pytest.raises(Problem) as caught:
        read(Thing, {field: value})
    assert [error.field for error in caught.value.errors] == [field]
