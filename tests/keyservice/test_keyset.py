from itertools import pairwise

import pytest
from psycopg import sql

from keygauge_keyservice import keyset

SORTS = {"name": "lower(name)", "rank": "rank"}


@pytest.fixture
def page(connection):
    """`page(sort, after)` returns the next two rows of a table with many equal values."""
    connection.execute("CREATE TEMPORARY TABLE thing (id text PRIMARY KEY, name text, rank integer, owner text)")
    rows = [(f"t{number}", "aAbBcC"[number % 6], number % 3, "own" if number % 5 else "other") for number in range(12)]
    connection.cursor().executemany("INSERT INTO thing VALUES (%s, %s, %s, %s)", rows)

    def page(sort, after, own="true"):
        beyond, order = keyset.clauses("thing", SORTS, sort, own=own)
        query = sql.SQL(
            "SELECT id, lower(name) AS name, rank FROM thing WHERE {own} AND {beyond} ORDER BY {order} LIMIT 2"
        )
        query = query.format(own=sql.SQL(own), beyond=beyond, order=order)
        return connection.execute(query, {"after": after}).fetchall()

    return page


def test_pages_contain_every_row_once_in_order(page):
    for sort in keyset.names(SORTS):
        rows, after = [], None
        while found := page(sort, after):
            rows, after = rows + found, found[-1]["id"]
        name, sign = sort.removeprefix("-"), -1 if sort.startswith("-") else 1
        assert len({row["id"] for row in rows}) == len(rows) == 12
        for before, row in pairwise(rows):
            keys = [(one[name], one["id"]) for one in (before, row)]
            assert (keys[0] < keys[1]) == (sign == 1)


def test_page_after_a_foreign_or_unknown_row_is_empty(page):
    assert page("name", "t0", own="owner = 'own'") == []
    assert page("name", "nobody") == []


def test_every_sort_has_its_reverse():
    assert keyset.names(SORTS) == ("name", "rank", "-name", "-rank")
