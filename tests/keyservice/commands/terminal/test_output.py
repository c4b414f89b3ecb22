import csv
import io
import json
import sys
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from keygauge_keyservice.commands.terminal.output import Output, column, dollars, number, text, time, usd

ITEMS = [
    {
        "id": "k1",
        "name": 'a "b", c\td',
        "cost_nanousd": 2_500_000_000,
        "used": 1234,
        "made_at": "2030-01-31T12:00:00+00:00",
    },
    {"id": "k2", "name": None, "cost_nanousd": None, "used": 0, "made_at": None},
]
COLUMNS = [column("id"), column("name"), usd("cost_nanousd"), number("used"), time("made_at")]


@pytest.fixture
def printed(capsys):
    def printed(**how):
        Output(**how).items("keys", ITEMS, COLUMNS)
        return capsys.readouterr().out

    return printed


def test_pipe_gets_one_line_per_item_with_tabs(printed):
    head, first, second = printed().splitlines()
    assert head.split("\t") == ["ID", "NAME", "COST", "USED", "MADE"]
    assert first.split("\t") == ["k1", 'a "b", c d', "$2.50", "1234", "2030-01-31 12:00:00"]
    assert second.split("\t") == ["k2", "-", "-", "0", "-"]


def test_csv_has_exact_values(printed):
    head, first, second = csv.reader(io.StringIO(printed(form="csv")))
    assert head == ["id", "name", "cost", "used", "made"]
    assert first == ["k1", 'a "b", c\td', "2.500000000", "1234", "2030-01-31T12:00:00+00:00"]
    assert second == ["k2", "", "", "0", ""]


def test_json_is_the_api_document_and_quiet_prints_only_ids(printed):
    assert json.loads(printed(form="json")) == {"keys": ITEMS, "next": None}
    for form in ("table", "json", "csv"):
        assert printed(form=form, is_quiet=True) == "k1\nk2\n"


def test_single_item_is_shown_as_one_line_per_field(capsys):
    Output().item(ITEMS[0], COLUMNS)
    assert capsys.readouterr().out.splitlines()[2:4] == ["cost\t$2.50", "used\t1234"]
    Output().note("saved")
    assert capsys.readouterr() == ("", "saved\n")


def test_values_are_formatted_for_people():
    values = (None, "", [], True, False, ["a", "b"], 5, Decimal("1.5"), datetime(2030, 1, 31, 12, tzinfo=UTC))
    assert [text(value) for value in values] == [
        *("-", "-", "-", "yes", "no", "a, b", "5", "$1.50", "2030-01-31 12:00:00")
    ]
    assert [dollars(Decimal(amount)) for amount in ("-1234.5", "0", "0.000000001", "100")] == [
        *("-$1,234.50", "$0.00", "$0.000000001", "$100.00")
    ]


@pytest.mark.parametrize("is_terminal", [True, False])
def test_followed_items_are_printed_one_by_one(monkeypatch, capsys, is_terminal):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal, raising=False)

    def items():
        assert capsys.readouterr().out.split() == ["ID", "USED"]
        for count in (1, 2):
            yield {"id": f"k{count}", "used": count}
            assert capsys.readouterr().out.split() == [f"k{count}", str(count)]

    Output().follow(items(), [column("id"), number("used")])


@pytest.mark.parametrize(
    ("how", "lines"),
    [({"is_quiet": True}, ["k1", "k2"]), ({"form": "csv"}, ["id", "k1", "k2"])],
)
def test_followed_items_have_all_formats(capsys, how, lines):
    Output(**how).follow(ITEMS, [column("id")])
    assert capsys.readouterr().out.splitlines() == lines


def test_followed_json_has_one_object_per_line(capsys):
    Output(form="json").follow(ITEMS, COLUMNS)
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == ITEMS


def test_failed_list_prints_no_head(capsys):
    def items():
        raise ValueError("refused")
        yield

    for form in ("table", "csv"):
        with pytest.raises(ValueError, match="refused"):
            Output(form).items("keys", items(), COLUMNS)
        assert capsys.readouterr().out == ""


def test_csv_names_are_in_lower_case_without_hyphens(capsys):
    Output(form="csv").items("members", [], [column("email", "e-mail address"), column("x", "US dollars")])
    assert capsys.readouterr().out == "e_mail_address,us_dollars\n"
