"""Checks of every dashboard's JSON: structure, Grafana's own types, and the rules of its dashboard linter."""

import json
import re
import warnings

import pytest
from differences import lost
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins

from keygauge import service_metrics
from keygauge.metrics import KEY, MODEL, ROUTE, STATUS, label
from keygauge_dashboards.alerts.ledger import ledger_alerts
from keygauge_dashboards.alerts.prometheus import alerts
from keygauge_dashboards.dashboards.suite import pages
from keygauge_dashboards.grafana.panel_types import BY_NAME, STATUS_COLOURS
from keygauge_dashboards.grafana.panels import COLUMNS, HIDDEN, MIXED, SCHEMA_VERSION, TAG, Sql
from keygauge_dashboards.thresholds import Thresholds
from keygauge_dashboards.uids import KEY_PAGE

with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # it recommends the v2 schema
    from grafana_foundation_sdk.models.dashboard import Dashboard

LEGACY = {"rows", "style", "sharedCrosshair", "gnetId", "hideControls", "__inputs"}
SINGLE_VALUE = {"stat", "bargauge", "gauge"}
# Subjects that have their own dashboard: labels of a legend or a row of a matrix, and columns of a table.
SUBJECTS = {label(name) for name in (KEY, MODEL, ROUTE, STATUS)} | {
    service_metrics.ACCOUNT,
    service_metrics.LIMIT,
    "name",
}
SUBJECT_COLUMNS = {"key", "model", "endpoint", "address", "status", "metric", *STATUS_COLOURS}
LEADS_NOWHERE = {
    ("keygauge-key", "Key"): "the page is about it",
    ("keygauge-key", "Totals of the time range"): "the page is about it",
}


@pytest.fixture
def dashboard(page):
    return page.json()


@pytest.fixture
def panels(dashboard):
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def test_uids_are_short_and_unique():
    uids = [page.uid for page in pages(Thresholds())]
    assert len(set(uids)) == len(uids)
    assert all(re.fullmatch(r"keygauge-[a-z-]{1,31}", uid) for uid in uids)


def test_ids_are_unique(dashboard):
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)


def test_titles_are_short_nouns_and_descriptions_the_questions(panels):
    """Grafana cuts titles at about 26 letters in a quarter of the page's width, and at about 35 in a third."""
    titles = [panel["title"] for panel in panels]
    assert len(set(titles)) == len(titles)
    for panel in panels:
        assert len(panel["title"]) <= 4.4 * panel["gridPos"]["w"]
        assert not re.match(r"(How|What|Which|Who|When|Is|Do|Will)\b", panel["title"])
        assert "?" in panel["description"]


def test_panels_do_not_overlap_or_leave_the_grid(dashboard):
    taken = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= COLUMNS
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_dashboards_have_the_current_schema(dashboard):
    assert dashboard["schemaVersion"] == SCHEMA_VERSION
    assert not LEGACY & set(dashboard)
    assert None not in dashboard.values()
    assert dashboard["tags"] == [TAG]
    assert dashboard["editable"] is False
    assert dashboard["graphTooltip"] == 1


def test_typed_models_lose_nothing(dashboard):
    register_default_plugins()
    for panel in dashboard["panels"]:
        if panel.get("datasource") == MIXED:  # the models treat every target as one of the panel's own type
            panel["datasource"] = {"uid": MIXED["uid"]}
    again = json.loads(JSONEncoder().encode(Dashboard.from_json(dashboard)))
    assert list(lost(dashboard, again)) == []


def test_typed_models_notice_a_misspelt_option(dashboard):
    register_default_plugins()
    for panel in dashboard["panels"]:
        panel.get("options", {})["misspelt"] = True
    again = json.loads(JSONEncoder().encode(Dashboard.from_json(dashboard)))
    assert any("misspelt" in path for path in lost(dashboard, again))


def test_data_sources_are_variables(dashboard, panels):
    types = {item["name"]: item["query"] for item in dashboard["templating"]["list"] if item["type"] == "datasource"}
    assert types == {"datasource": "prometheus", "postgresql": "grafana-postgresql-datasource"}
    known = [{"type": kind, "uid": f"${{{name}}}"} for name, kind in types.items()]
    used = [*dashboard["annotations"]["list"], *(target for panel in panels for target in panel["targets"])]
    assert all(item["datasource"] in known for item in used)
    for panel in panels:
        sources = [target["datasource"] for target in panel["targets"]]
        assert panel["datasource"] == (sources[0] if sources.count(sources[0]) == len(sources) else MIXED)


def test_hidden_variables_are_used(dashboard, panels):
    queries = "".join(target.get("rawSql", "") for panel in panels for target in panel["targets"])
    for variable in dashboard["templating"]["list"]:
        if variable["hide"] == HIDDEN:
            assert f"${{{variable['name']}:" in queries


def test_values_from_links_last_and_all_follows_the_time_range(dashboard):
    """Grafana drops a selected value that is not offered whenever it looks up the values again."""
    for variable in dashboard["templating"]["list"]:
        assert variable["label"]
        if variable["type"] == "query":
            is_list = variable["includeAll"] and variable.get("allValue") is None
            assert variable["refresh"] == (2 if is_list else 1)
            assert variable["includeAll"] or (variable["name"], dashboard["uid"]) == ("key", KEY_PAGE)
            assert variable["multi"] == variable["includeAll"]


def test_variables_in_sql_have_no_custom_all(dashboard):
    custom = {item["name"] for item in dashboard["templating"]["list"] if item.get("allValue", "''") != "''"}
    assert not custom & set(re.findall(r"\$\{(\w+):sqlstring\}", json.dumps(dashboard)))


def test_alert_annotations_are_off_by_default_and_name_the_alert(dashboard):
    """A region covers the chart for as long as its alert fires, which can be all day for a ticket."""
    for mark in dashboard["annotations"]["list"]:
        if "expr" in mark["target"]:
            assert mark["enable"] is False
            assert 'severity="page"' in mark["target"]["expr"]
            assert all(mark[part] for part in ("titleFormat", "textFormat", "tagKeys"))


def test_sql_compares_with_lists_and_has_no_variable_in_quotes(dashboard):
    """An apostrophe in a name would end the quotes."""
    queries = [target.get("rawSql", "") for panel in dashboard["panels"] for target in panel.get("targets", ())]
    queries += [mark["target"].get("rawSql", "") for mark in dashboard["annotations"]["list"]]
    for query in queries:
        assert not re.search(r"'[^'\n]*\$\{[^'\n]*'", query.replace("''", "0"))
        assert set(re.findall(r"\$\{\w+:?(\w*)\}", query)) <= {"sqlstring"}


def test_panels_have_descriptions_and_units(panels):
    for panel in panels:
        assert panel["title"]
        assert panel["description"].endswith((".", "?"))
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["targets"]


def test_every_alert_is_shown_on_a_panel():
    tied = {name for page in pages(Thresholds()) for view in page.views() for name in view.alerts}
    known = {alert.name for alert in (*alerts(Thresholds()), *ledger_alerts())}
    assert tied ^ known == set(), "name each alert in `alerts=` of a panel"


def test_references_of_targets_are_unique(panels):
    for panel in panels:
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references)


def test_rates_use_the_rate_interval_in_charts_and_the_range_in_instant_queries(panels):
    for panel in panels:
        for target in panel["targets"]:
            selected = r"(\w+)\(\w+(?:\{[^}]*\})?\[([^\]]+)\]"
            found = re.findall(selected, target.get("expr", ""))
            windows = {window for name, window in found if name not in {"deriv", "last_over_time"}}
            assert windows <= {"$__rate_interval", "$__range", *(["1h"] if "metrics" in panel["title"] else ())}
            assert "$__range" not in windows or target["instant"]


def test_queries_only_use_variables_of_their_page(dashboard):
    names = {item["name"] for item in dashboard["templating"]["list"]}
    for item in (*dashboard["panels"], *dashboard["annotations"]["list"], *dashboard["templating"]["list"]):
        text = json.dumps({part: value for part, value in item.items() if part != "title"})
        used = set(re.findall(r"\$\{?([a-z]\w*)", text)) - {"labels"}
        assert used <= names, item.get("title", item.get("name"))


def test_variables_are_in_reading_order_with_data_sources_last(dashboard):
    shown = [item["name"] for item in dashboard["templating"]["list"] if item["hide"] != HIDDEN]
    order = [
        "account",
        "key",
        "endpoint",
        "model",
        "status",
        "address",
        "trace",
        "before",
        "job",
        "env",
        "datasource",
        "postgresql",
    ]
    assert shown == [name for name in order if name in shown]


def test_key_page_is_about_one_key_and_its_owner():
    page = next(page.json() for page in pages(Thresholds()) if page.uid == KEY_PAGE)
    assert "${account" not in json.dumps(page)
    assert "$account" not in json.dumps(page)
    (owner,) = (item for item in page["templating"]["list"] if item["name"] == "owner")
    assert owner["hide"] == HIDDEN
    assert "id = ANY (ARRAY[${key:sqlstring}]::text[])" in owner["query"]


def test_status_has_one_colour_everywhere(panels):
    for panel in panels:
        for override in panel["fieldConfig"]["overrides"]:
            name = override["matcher"]["options"]
            for one in override["properties"]:
                if name in STATUS_COLOURS and one["id"] == "color":
                    assert one["value"]["fixedColor"] == STATUS_COLOURS[name]


def test_a_model_has_one_colour_everywhere(panels):
    for panel in panels:
        legends = {target.get("legendFormat") for target in panel["targets"]}
        if panel["type"] == "timeseries" and f"{{{{{label(MODEL)}}}}}" in legends:
            assert panel["fieldConfig"]["defaults"]["color"] == BY_NAME, panel["title"]


def test_axes_start_at_0_and_have_a_soft_maximum(panels):
    for panel in panels:
        if panel["type"] == "timeseries":
            defaults = panel["fieldConfig"]["defaults"]
            assert defaults["min"] == 0
            assert defaults["custom"]["axisSoftMax"]
            assert defaults["custom"].get("barAlignment", 1) == 1


def test_columns_fit_a_small_screen_with_the_menu_open(panels):
    """Grafana's menu leaves 930 of 1,280 pixels, and columns without a fixed width need some space too."""
    for panel in panels:
        if panel["type"] == "table":
            fixed = [
                one["value"]
                for override in panel["fieldConfig"]["overrides"]
                for one in override["properties"]
                if one["id"] == "custom.width"
            ]
            assert sum(fixed) <= 38.7 * panel["gridPos"]["w"] - 75 or len(fixed) > 10, panel["title"]
            assert min(fixed, default=50) >= 50, "Grafana draws 50, and pushes the last column out"


def test_texts_in_tables_are_not_converted_to_numbers(panels):
    """Grafana converts texts that look like numbers: a key named 007 becomes 7, and 1e9 in a link a billion."""
    for panel in panels:
        if panel["type"] == "table":
            texts = {
                "matcher": {"id": "byType", "options": "string"},
                "properties": [{"id": "unit", "value": "string"}],
            }
            assert texts in panel["fieldConfig"]["overrides"]


def test_only_cells_with_a_target_are_links(panels):
    for panel in panels:
        if panel["type"] == "table":
            assert "links" not in panel["fieldConfig"]["defaults"]


def test_legends_of_many_lines_have_calculations(panels):
    for panel in panels:
        if panel["type"] == "timeseries":
            assert panel["options"]["legend"]["calcs"]


def test_single_values_have_thresholds(panels):
    for panel in panels:
        if panel["type"] in SINGLE_VALUE:
            assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"][0]["value"] is None


def test_keys_models_endpoints_and_statuses_link_to_their_dashboard(page):
    for view in page.views():
        named = {name for target in view.targets for name in _subjects(target)}
        if named and (page.uid, view.title) not in LEADS_NOWHERE:
            assert list(_links(view)), (view.title, named)


def test_links_percent_encode_the_clicked_value(page):
    """By default Grafana does not escape an ampersand in a name, so the rest of the name would be lost."""
    for view in page.views():
        for link in _links(view):
            clicked = re.findall(r"=\$\{(__\w+\.[^}]+)\}", link["url"])
            assert all(part.endswith(":percentencode") for part in clicked), view.title
            assert "__series" not in link["url"], "one frame of SQL has all lines, so its name is that of none"


def _subjects(target):
    if isinstance(target, Sql):
        return set(re.findall(r'AS "?([\w]+)"?', target.query)) & SUBJECT_COLUMNS
    shown = (
        re.findall(r"by \(([^)]+)\)", target.expression) if target.table else re.findall(r"{{(\w+)}}", target.legend)
    )
    names = {name for group in shown for name in group.split(", ")} | {target.legend}
    return names & (SUBJECTS | set(STATUS_COLOURS))


def _links(view):
    yield from view.defaults.get("links", ())
    for override in view.overrides:
        for one in override["properties"]:
            yield from one["value"] if one["id"] == "links" else ()


def test_links_keep_variables_and_time(dashboard):
    assert dashboard["links"]
    for link in dashboard["links"]:
        assert link["includeVars"]
        assert link["keepTime"]
        assert link["tags"] == [TAG]


def test_links_point_to_dashboards_of_the_suite(dashboard):
    known = {
        page.uid: {item["name"] for item in page.variables if item["hide"] != HIDDEN} for page in pages(Thresholds())
    }
    for uid, query in re.findall(r'"/d/([\w-]+)\?([^"]*)"', json.dumps(dashboard)):
        assert uid in known
        names = {item["name"] for item in dashboard["templating"]["list"]} & known[uid]
        assert all(f"${{{name}:queryparam}}" in query or f"var-{name}=" in query for name in names)
