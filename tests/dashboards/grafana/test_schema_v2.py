"""The dashboards in Grafana's schema v2: its own types parse them, and they are equivalent to the classic ones."""

import json

import pytest
from differences import lost
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import dashboardv2, folderv1

from keygauge_dashboards.grafana import schema_v2


@pytest.fixture
def classic(page):
    return page.json()


@pytest.fixture
def resource(classic):
    return schema_v2.resource(classic)


def test_resource_is_named_by_the_uid(classic, resource):
    assert resource["apiVersion"] == "dashboard.grafana.app/v2"
    assert resource["kind"] == "Dashboard"
    assert resource["metadata"] == {"name": classic["uid"]}


def test_folder_has_the_format_of_git_sync():
    folder = schema_v2.folder("keygauge", "API keys")
    assert (folder["apiVersion"], folder["kind"]) == (folderv1.FolderApiVersion, folderv1.FolderKind)
    assert folderv1.Folder.from_json(folder["spec"]).to_json() == folder["spec"]
    assert folder["metadata"]["name"]


def test_typed_models_lose_nothing(resource):
    assert list(lost(resource["spec"], _again(resource["spec"]))) == []


@pytest.mark.parametrize("spoil", [
    lambda spec: spec.update(refersh="1m"),
    lambda spec: spec["layout"]["spec"]["rows"][0]["spec"].update(colapse=True),
    lambda spec: spec["variables"][0]["spec"].update(reges="/x/"),
    lambda spec: next(iter(spec["elements"].values()))["spec"].update(titel="x"),
    lambda spec: spec["annotations"][0]["spec"].update(icon="x"),
])  # fmt: skip
def test_typed_models_notice_a_misspelt_member(resource, spoil):
    spoil(resource["spec"])
    assert list(lost(resource["spec"], _again(resource["spec"])))


def test_every_panel_has_the_queries_and_options_of_the_classic_one(classic, resource):
    elements = resource["spec"]["elements"]
    panels = [panel for panel in classic["panels"] if panel["type"] != "row"]
    assert len(elements) == len(panels)
    for panel in panels:
        spec = elements[f"panel-{panel['id']}"]["spec"]
        drawn, data = spec["vizConfig"], spec["data"]["spec"]
        assert (spec["title"], spec["description"]) == (panel["title"], panel["description"])
        assert (drawn["group"], drawn["spec"]["options"]) == (panel["type"], panel["options"])
        assert drawn["spec"]["fieldConfig"] == panel["fieldConfig"]
        for query, target in zip([one["spec"] for one in data["queries"]], panel["targets"], strict=True):
            source = _source(query["query"])
            assert {"datasource": source, "refId": query["refId"], **query["query"]["spec"]} == target
        assert [{"id": one["group"], **one["spec"]} for one in data["transformations"]] == panel["transformations"]
        options = {name: panel[name] for name in ("interval", "maxDataPoints", "timeFrom") if name in panel}
        assert data["queryOptions"] == options


def test_panels_have_the_positions_of_the_classic_ones(classic, resource):
    places, y = {}, 0
    for row in resource["spec"]["layout"]["spec"]["rows"]:
        items = [item["spec"] for item in row["spec"]["layout"]["spec"]["items"]]
        for item in items:
            places[item["element"]["name"]] = {
                "x": item["x"], "y": y + 1 + item["y"], "w": item["width"], "h": item["height"],
            }  # fmt: skip
        y += 1 + max(item["y"] + item["height"] for item in items)
    assert places == {f"panel-{panel['id']}": panel["gridPos"] for panel in classic["panels"] if panel["type"] != "row"}


def test_variables_and_annotations_have_the_queries_of_the_classic_ones(classic, resource):
    variables = {one["spec"]["name"]: one for one in resource["spec"]["variables"]}
    assert list(variables) == [one["name"] for one in classic["templating"]["list"]]
    for one in classic["templating"]["list"]:
        spec = variables[one["name"]]["spec"]
        assert (spec["hide"] == "hideVariable") == (one["hide"] == 2)
        assert spec.get("allValue") == one.get("allValue")
        if one["type"] == "query":
            query = spec["query"]
            assert _source(query) == one["datasource"]
            assert query["spec"].get("__legacyStringValue", query["spec"]) == one["query"]
            refresh = {1: "onDashboardLoad", 2: "onTimeRangeChanged"}[one["refresh"]]
            assert (spec["regex"], spec["refresh"]) == (one.get("regex", ""), refresh)
        else:
            assert spec.get("pluginId", spec.get("query")) == one["query"]
    for mark, given in zip(classic["annotations"]["list"], resource["spec"]["annotations"], strict=True):
        query = given["spec"]["query"]
        assert {"datasource": _source(query), **query["spec"]} == mark["target"]
        assert (given["spec"]["name"], given["spec"]["enable"]) == (mark["name"], mark["enable"])
        assert given["spec"].get("legacyOptions", {}).get("textFormat") == mark.get("textFormat")


def _source(query):
    return {"type": query["group"], "uid": query["datasource"]["name"]}


def _again(spec):
    register_default_plugins()
    for one in spec["variables"]:  # the models treat a variable's query as a panel's query of the same data source
        if one["kind"] == "QueryVariable":
            one["spec"]["query"]["group"] = "variable"
    read = dashboardv2.Dashboard.from_json(spec)
    for element in read.elements.values():  # the models convert these two to sets
        drawn = element.spec.viz_config
        (drawn.group,), (drawn.version,) = drawn.group, drawn.version
    return json.loads(JSONEncoder().encode(read))
