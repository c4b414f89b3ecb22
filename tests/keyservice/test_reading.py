"""Documents and queries are parsed as the types that describe them; all errors are reported at once, by field."""

import subprocess
import sys
from datetime import UTC, date, datetime
from typing import Annotated, Literal

import pytest
from msgspec import UNSET, Meta, Struct, UnsetType, ValidationError, field

from keygauge_keyservice import reading
from keygauge_keyservice.errors import FieldError, Problem
from keygauge_keyservice.reading import attempt, given, read, read_query
from keygauge_keyservice.values.field_types import Name, NumberCursor, Slug, Text, Time


class Part(Struct):
    id: Slug
    count: Annotated[int, Meta(ge=1, le=9)] = 1


class Whole(Struct):
    name: Name
    kind: Literal["a", "b"] = "a"
    is_on: bool = False
    note: Text | None = None
    at: Time | None = field(name="from", default=None)
    day: date | None = None
    parts: Annotated[list[Part], Meta(max_length=2)] = []
    words: Annotated[list[Text], Meta(min_length=1)] | UnsetType = UNSET

    def faults(self):
        if self.is_on and self.kind == "b":
            yield FieldError("is_on", "wrong_unit", "only applies to a")


class Query(Struct):
    limit: Annotated[int, Meta(ge=1, le=500)] = 100
    after: NumberCursor | None = None


def errors(document):
    message, found = attempt(Whole, document)
    assert (message is None) == bool(found)
    return {error.field: error.code for error in found}


def test_valid_document_is_parsed():
    document = {
        "name": "x",
        "from": "2030-01-31T12:00:00+02:00",
        "day": "2030-01-31",
        "parts": [{"id": "p", "count": 9}],
        "words": ["w", "w"],
    }
    whole = read(Whole, document)
    assert whole.at == datetime(2030, 1, 31, 10, tzinfo=UTC)
    assert whole.day == date(2030, 1, 31)
    assert whole.parts == [Part("p", 9)]
    assert whole.words == ["w"]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"name": ""}, {"name": "wrong_name"}),
        ({"name": " x"}, {"name": "wrong_name"}),
        ({"name": "x" * 101}, {"name": "wrong_name"}),
        ({"name": "a\nb"}, {"name": "wrong_name"}),
        ({"name": None}, {"name": "missing"}),
        ({"name": 5}, {"name": "wrong_name"}),
        ({"kind": "c"}, {"kind": "wrong_choice"}),
        ({"kind": ["a"]}, {"kind": "wrong_choice"}),
        ({"is_on": 1}, {"is_on": "wrong_type"}),
        ({"note": "\0"}, {"note": "wrong_text"}),
        ({"note": "x" * 513}, {"note": "wrong_text"}),
        ({"from": "2030-01-31"}, {"from": "wrong_time"}),
        *(({"day": day}, {"day": "wrong_time"}) for day in ("2030-02-30", "20300131", "1969-12-31", 5)),
        ({"from": "1969-12-31T23:59:59Z"}, {"from": "wrong_time"}),
        ({"from": "0001-01-01T00:00:00+14:00"}, {"from": "wrong_time"}),
        ({"from": 5}, {"from": "wrong_time"}),
        ({"parts": {}}, {"parts": "wrong_list"}),
        ({"parts": [{"id": "p"}] * 3}, {"parts": "wrong_list"}),
        (
            {"parts": [{"id": "p"}, {"id": "P", "count": 0}]},
            {"parts[1].count": "wrong_number", "parts[1].id": "wrong_slug"},
        ),
        ({"parts": [5]}, {"parts[0]": "wrong_type"}),
        ({"parts": [{}]}, {"parts[0].id": "missing"}),
        ({"parts": [{"id": "p", "count": True}]}, {"parts[0].count": "wrong_number"}),
        ({"parts": [{"id": "p", "count": 2.0}]}, {"parts[0].count": "wrong_number"}),
        ({"words": []}, {"words": "wrong_list"}),
        ({"words": None}, {"words": "missing"}),
        ({"at": "2030-01-31T12:00:00Z"}, {"at": "unknown_field"}),
        ({"kind": "b", "is_on": True}, {"is_on": "wrong_unit"}),
    ],
)
def test_errors_name_their_field(change, found):
    assert errors({"name": "x", **change}) == found


def test_all_errors_are_reported_at_once():
    found = {"name": "missing", "kind": "wrong_choice", "other": "unknown_field", "parts[0].id": "wrong_slug"}
    assert errors({"kind": "c", "other": 1, "parts": [{"id": ""}]}) == found


@pytest.mark.parametrize("document", [None, [], "x", 5])
def test_other_types_than_objects_are_rejected(document):
    assert errors(document) == {"body": "wrong_type"}


def test_read_raises_a_problem_with_all_fields():
    with pytest.raises(Problem) as caught:
        read(Whole, {"kind": "c"})
    assert caught.value.status == 422
    assert [error.field for error in caught.value.errors] == ["kind", "name"]


def test_given_omits_unset_fields():
    assert "words" not in given(read(Whole, {"name": "x"}))
    assert given(read(Whole, {"name": "x", "words": ["w"]}))["words"] == ["w"]


def test_query_numbers_must_be_ascii_digits():
    assert read_query(Query, {"limit": "5"}) == Query(5)
    for text in ("0", "501", "x", "", "1" * 30, "\uff15", "+5", "1.0"):
        with pytest.raises(Problem):
            read_query(Query, {"limit": text})


def test_number_cursor_must_be_ascii_digits():
    assert read_query(Query, {"after": "7"}).after == 7
    for text in ("x", "-1", "9" * 20, "\u0663"):
        with pytest.raises(Problem):
            read_query(Query, {"after": text})


TOGETHER = """
import sys, threading
from keygauge.protocol import Heartbeat
from keygauge_keyservice import reading

sys.setswitchinterval(1e-6)  # so that they meet in the middle
body = (
    b'{"replica": "0123456789abcdef0123456789abcdef", "service": "s", "host": "h", "version": "1", "mode": "enforce",'
    b'"acquire": [{"limit": "1:a", "units": 1, "waiting": 1}], "return": [{"lease": "1", "unspent": 1}],'
    b'"prices": {"state": null, "want": []}}'
)
barrier = threading.Barrier(8)


def read():
    barrier.wait()
    reading.decoder(Heartbeat).decode(body)


threads = [threading.Thread(target=read) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_threads_that_decode_a_type_together_do_not_crash():
    """Without a lock, three of four processes crashed."""
    for _ in range(5):
        done = subprocess.run([sys.executable, "-c", TOGETHER], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


class Point(Struct):
    x: int
    y: int = 0


def test_objects_and_json_are_converted_to_a_type():
    class Place:
        x, y = 3, 4

    assert reading.convert(Place(), Point) == Point(3, 4)
    assert reading.convert([{"x": 1}], list[Point]) == [Point(1)]
    assert reading.decoder(Point).decode(b'{"x": 2}') == Point(2)
    with pytest.raises(ValidationError):
        reading.decoder(Point).decode(b'{"x": "two"}')
