import pytest

from keygauge_dashboards.grafana import panel_types
from keygauge_dashboards.grafana.panels import Prometheus, Sql

UP = Prometheus("up")


def test_numbers_have_a_sparkline_if_the_query_is_over_time():
    for target, course, height in ((UP, "area", 5), (Prometheus("up", instant=True), "none", 4), (Sql("1"), "none", 4)):
        view = panel_types.stat("Up", "Is it?", target, unit="short")
        assert (view.options["graphMode"], view.height) == (course, height)
        assert ("displayName" in view.defaults) == (view.options["textMode"] == "value_and_name") == (course == "area")
        assert ("text" in view.options) == (course == "area")
    assert panel_types.stat("Up", "Is it?", UP, unit="short", height=9).height == 9


def test_latest_number_is_none_while_nothing_happens():
    """Grafana's lastNotNull would keep the latency of before a pause, whose values are NaN."""
    view = panel_types.stat("p95", "How long?", UP, unit="s")
    assert view.options["reduceOptions"]["calcs"] == ["last"]
    (mapping,) = view.defaults["mappings"]
    assert mapping["options"] == {"match": "null+nan", "result": {"text": "-", "color": "text"}}


def test_counts_are_whole_and_in_full():
    """1,870 calls of a key are not 2 K."""
    assert panel_types.ranking("T", "D", UP, unit="locale").defaults["decimals"] == 0
    assert "decimals" not in panel_types.ranking("T", "D", UP, unit="short").defaults


def test_a_single_bar_has_its_name():
    """Grafana clears the name of a bar that has no others beside it, unless the panel sets names."""
    view = panel_types.ranking("T", "D", Prometheus("up", "{{name}}", instant=True), unit="locale")
    assert view.defaults["displayName"] == "${__field.labels.name}"


def test_values_are_green_then_yellow_then_red():
    steps = panel_types.limits(0.5, 0.9)["thresholds"]["steps"]
    assert [(step["color"], step["value"]) for step in steps] == [("green", None), ("yellow", 0.5), ("red", 0.9)]
    assert len(panel_types.limits(critical=0.9)["thresholds"]["steps"]) == 2


@pytest.mark.parametrize(("unit", "most"), [("percentunit", 0.02), ("currencyUSD", 0.01), ("s", 0.1), ("reqps", 1)])
def test_axis_of_zeros_has_a_soft_maximum(unit, most):
    for draw in (panel_types.lines, panel_types.bars):
        assert draw("T", "D", [UP], unit=unit).defaults["custom"]["axisSoftMax"] == most


def test_lines_are_stacked_or_have_threshold_lines():
    stacked = panel_types.lines("T", "D", [UP], unit="s", stacked=True).defaults["custom"]
    assert (stacked["stacking"]["mode"], stacked["lineWidth"]) == ("normal", 0)
    limited = panel_types.lines("T", "D", [UP], unit="s", colours=panel_types.limits(1)).defaults
    assert (limited["custom"]["thresholdsStyle"], limited["min"]) == ({"mode": "dashed"}, 0)


def test_kept_columns_are_in_order_and_renamed():
    kept, named = panel_types.keep("a", "b", c="C")
    assert kept["options"]["include"]["names"] == ["a", "b", "c"]
    assert named["options"] == {
        "excludeByName": {},
        "indexByName": {"a": 0, "b": 1, "c": 2},
        "renameByName": {"c": "C"},
    }


def test_status_colours_change_by_class_and_at_429():
    override = panel_types.status("code")
    properties = {one["id"]: one["value"] for one in override["properties"]}
    steps = [(step["value"], step["color"]) for step in properties["thresholds"]["steps"]]
    assert steps == [(None, "green"), (400, "yellow"), (429, "orange"), (430, "yellow"), (500, "red")]
    assert override["matcher"] == {"id": "byName", "options": "code"}
