from dataclasses import replace

import pytest

from keygauge_dashboards.grafana.panels import (
    COLUMNS,
    MIXED,
    POSTGRESQL,
    PROMETHEUS,
    Page,
    Prometheus,
    Section,
    Sql,
    View,
    sql_target,
    variable,
)

VIEW = View("stat", "Requests/s", "How many?", [Prometheus("up")], "reqps", width=8, height=4)


def placed(*views, title="Now"):
    page = Page("u", "T", "d", [Section(title, views), Section("Later", views[:1])], [variable("a", "textbox", "")])
    return page.json()


def panels(*views):
    return [panel for panel in placed(*views)["panels"] if panel["type"] != "row"]


def test_panels_fill_rows_and_never_overlap():
    sizes = [(8, 4), (8, 6), (8, 2), (24, 3), (12, 5), (13, 5), (11, 1)]
    page = placed(*(replace(VIEW, width=width, height=height) for width, height in sizes))
    places = [panel["gridPos"] for panel in page["panels"]]
    taken = [
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(taken) == len(set(taken))
    assert max(x for x, _ in taken) < COLUMNS
    assert len({panel["id"] for panel in page["panels"]}) == len(page["panels"])
    assert [panel["title"] for panel in page["panels"] if panel["type"] == "row"] == ["Now", "Later"]


@pytest.mark.parametrize(
    ("targets", "source"),
    [
        ([Prometheus("up"), Prometheus("up")], PROMETHEUS),
        ([Sql("SELECT 1")], POSTGRESQL),
        ([Prometheus("up"), Sql("SELECT 1")], MIXED),
    ],
)
def test_panel_with_two_data_sources_is_mixed(targets, source):
    panel = panels(replace(VIEW, targets=targets))[0]
    assert panel["datasource"] == source
    assert [target["refId"] for target in panel["targets"]] == list("AB")[: len(targets)]


def test_targets_have_their_format_and_range():
    built = panels(replace(VIEW, targets=[Prometheus("a", instant=True, table=True), Prometheus("b", heatmap=True)]))
    instant, heatmap = built[0]["targets"]
    assert (instant["instant"], instant["range"], instant["format"]) == (True, False, "table")
    assert (heatmap["format"], heatmap["exemplar"]) == ("heatmap", True)
    assert [sql_target("SELECT 1", over_time=over)["format"] for over in (True, False)] == ["time_series", "table"]


def test_empty_panels_explain_why_and_descriptions_name_alerts():
    built = panels(replace(VIEW, empty_is_fine="no call failed", alerts=["ErrorRateHigh", "X"]))[0]
    assert built["fieldConfig"]["defaults"]["noValue"] == "No call failed"
    assert built["description"] == "How many? Watched by ErrorRateHigh, X."
    assert "noValue" not in panels(VIEW)[0]["fieldConfig"]["defaults"]


def test_tables_show_texts_as_texts_and_missing_values_as_a_dash():
    own = {"matcher": {"id": "byName", "options": "x"}, "properties": []}
    overrides = panels(replace(VIEW, kind="table", overrides=[own]))[0]["fieldConfig"]["overrides"]
    assert [one["matcher"]["id"] for one in overrides] == ["byRegexp", "byType", "byName"]
    assert panels(replace(VIEW, overrides=[own]))[0]["fieldConfig"]["overrides"] == [own]


def test_variables_have_an_initial_value():
    assert variable("a", "query", "q", includeAll=True)["current"] == {"text": "All", "value": "$__all"}
    assert variable("a", "textbox", "", chosen="5")["current"] == {"text": "5", "value": "5"}
    assert variable("a", "textbox", "")["current"] == {}
