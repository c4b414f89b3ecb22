"""The figures of the usage page: by group, over time, and compared with the previous period."""

from datetime import UTC, datetime

import pytest

from keygauge_keyservice.portal import usage_figures
from keygauge_keyservice.portal.usage_view import read_view

NOW = datetime(2026, 5, 22, tzinfo=UTC)
RANGE = "from=2026-05-20&to=2026-05-20"


@pytest.fixture
def figures(signed_in, connection):
    """`figures(query)` returns the figures of a usage page, read in the page's request context."""
    with signed_in.client:

        def figures(query):
            signed_in.get(f"/usage?{query}")
            return usage_figures.read(connection, read_view(connection, NOW), NOW)

        yield figures


@pytest.fixture
def recorded(customer, record):
    record(customer, {"model": "m1"}, {"model": "m2"}, {"model": "m2"}, {"model": None})


def test_groups_are_listed_by_size_and_add_up_over_time(figures, recorded):
    found = figures(f"{RANGE}&group=model")
    assert [(row.group, row.sums.requests) for row in found.rows] == [("m2", 2), ("", 1), ("m1", 1)]
    assert [row.group for row in found.charted] == ["m2", "", "m1"]
    of_points = {row.group: 0 for row in found.charted}
    for point in found.charted_points:
        of_points[point.group] += point.requests
    assert of_points == {"m2": 2, "": 1, "m1": 1}
    assert found.totals.requests == sum(point.requests for point in found.points) == 4


def test_group_links_to_a_view_filtered_by_it(figures, recorded):
    rows = {row.group: row for row in figures(f"{RANGE}&group=model").rows}
    assert rows["m1"].address.endswith("&group=key&model=m1")
    assert (rows[""].name, rows[""].address) == ("No model", None)


def test_breakdown_is_by_model_without_grouping(figures, recorded):
    found = figures(RANGE)
    assert (found.by, len(found.rows), found.charted, found.charted_points) == ("model", 3, [], [])


def test_previous_period_has_the_same_length(figures, recorded):
    found = figures("from=2026-05-21&to=2026-05-21")
    assert (found.totals.requests, found.earlier.requests, found.points) == (0, 4, [])


def test_usage_kinds_are_not_groups_of_calls(figures, recorded):
    found = figures(f"{RANGE}&group=kind")
    assert (found.by, found.rows, found.rows_beyond, found.charted) == ("kind", [], 0, [])
    assert found.totals.kinds
