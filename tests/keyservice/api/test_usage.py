import pytest

pytestmark = pytest.mark.usefixtures("metered")


def test_usage_has_totals_and_points(get):
    answer = get("/v1/usage", account="acme", bucket="day", zone="Asia/Kathmandu").json
    assert answer["totals"]["requests"] == 49
    assert answer["totals"]["server_errors"] == 1
    assert answer["totals"]["input_tokens"] == 4_800
    assert sum(point["requests"] for point in answer["points"]) == 49
    assert answer["points"][1]["start"].endswith("T18:15:00Z")
    assert answer["quotas"] == []


def test_usage_is_grouped(get):
    answer = get("/v1/usage", group_by="account", bucket="week").json
    assert [(group["group"], group["requests"]) for group in answer["groups"]] == [("acme", 49), ("beta", 1)]
    assert {point["group"] for point in answer["points"]} == {"acme", "beta"}
    assert answer["account"] is None


def test_default_bucket_depends_on_the_range(get):
    assert get("/v1/usage", **{"from": "2026-05-19T00:00:00Z"}).json["bucket"] == "hour"
    assert get("/v1/usage").json["bucket"] == "day"
    assert get("/v1/usage", **{"from": "2025-06-01T00:00:00Z"}).json["bucket"] == "week"
    assert get("/v1/usage", **{"from": "2022-06-01T00:00:00Z"}).json["bucket"] == "month"


def test_csv_has_the_filtered_usage(get_csv):
    rows = get_csv("/v1/usage", account="acme", key="acme-live", bucket="day")
    assert sum(int(row["requests"]) for row in rows) == 48
    cost_nanousd = 48 * (90 * 150 + 10 * 75 + 200 * 600)
    assert round(sum(float(row["cost_usd"]) for row in rows) * 1e9) == cost_nanousd


@pytest.mark.parametrize(
    "group_by", ["account,model", "model,key", "key,route,status", "status,account,model,route,key"]
)
def test_usage_is_grouped_by_several_dimensions(get, get_csv, group_by):
    answer = get("/v1/usage", group_by=group_by, bucket="week").json
    names = group_by.split(",")
    assert answer["group_by"] == group_by
    assert all(group["by"].keys() == set(names) for group in answer["groups"])
    assert {group["group"] for group in answer["groups"]} == {None}
    for figure in ("requests", "input_tokens", "cost_nanousd"):
        assert sum(group[figure] for group in answer["groups"]) == answer["totals"][figure]
        assert sum(point[figure] for point in answer["points"]) == answer["totals"][figure]
    rows = get_csv("/v1/usage", group_by=group_by, bucket="week")
    assert list(rows[0])[: len(names) + 1] == ["week", *names]
    assert sum(int(row["requests"]) for row in rows) == answer["totals"]["requests"]
    one = get("/v1/usage", group_by=names[0]).json["groups"]
    for group in one:
        same = [other for other in answer["groups"] if other["by"][names[0]] == group["by"][names[0]]]
        assert sum(other["requests"] for other in same) == group["requests"]


def test_csv_has_no_formulas(get_csv):
    rows = get_csv("/v1/usage", group_by="model", bucket="month")
    assert {row["model"] for row in rows} == {"", "gpt-4o-mini", "'=2+5"}
    rows = get_csv("/v1/calls", account="acme")
    assert {row["model"] for row in rows} == {"gpt-4o-mini", "'=2+5"}


@pytest.mark.parametrize("path", ["/v1/usage", "/v1/calls"])
@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"account": "nobody"}, 404),
        ({"account": "acme", "from": "yesterday"}, 422),
        ({"account": "acme", "from": "2026-05-20"}, 422),
        ({"account": "acme", "from": "2027-01-01T00:00:00Z"}, 422),
        ({"account": "acme", "from": "0001-01-01T00:00:00Z", "to": "0001-01-02T00:00:00Z"}, 422),
        ({"account": "acme", "format": "xml"}, 422),
        ({"account": "acme", "colour": "red"}, 422),
    ],
)
def test_invalid_query_is_rejected_with_its_status(get, path, given, status):
    answer = get(path, **given)
    assert (answer.status_code, answer.content_type) == (status, "application/problem+json")


@pytest.mark.parametrize(
    ("path", "given"),
    [
        ("/v1/usage", {"zone": "Mars/Olympus"}),
        ("/v1/usage", {"bucket": "minute"}),
        ("/v1/usage", {"bucket": "hour", "from": "2018-01-01T00:00:00Z"}),
        ("/v1/usage", {"group_by": "ip"}),
        ("/v1/usage", {"group_by": "key,ip"}),
        ("/v1/usage", {"group_by": "key,key"}),
        ("/v1/usage", {"group_by": "key,"}),
        ("/v1/calls", {}),
        ("/v1/calls", {"account": "acme", "status": "teapot"}),
        ("/v1/calls", {"account": "acme", "status": "teapot", "format": "csv"}),
        ("/v1/calls", {"account": "acme", "after": "x"}),
    ],
)
def test_invalid_parameter_is_rejected(get, path, given):
    assert get(path, **given).status_code == 422


def test_usage_is_for_operators_only(client, replica):
    assert client.get("/v1/usage").status_code == 401
    assert client.get("/v1/calls", headers=replica).status_code == 401


@pytest.mark.usefixtures("tagged")
def test_usage_by_tag_adds_up(get, get_csv, client, operator):
    answer = get("/v1/usage", account="acme", group_by="tag", bucket="day").json
    assert {group["group"]: group["requests"] for group in answer["groups"]} == {"": 49, "alice": 2, "a,b": 1}
    assert answer["totals"]["requests"] == 52 == sum(point["requests"] for point in answer["points"])
    one = get("/v1/usage", account="acme", tag="alice").json
    assert (one["totals"]["requests"], one["totals"]["input_tokens"]) == (2, 200)
    rows = get_csv("/v1/usage", group_by="tag,key", bucket="week")
    assert {(row["tag"], row["key"]) for row in rows} >= {
        ("alice", "acme-live"),
        ("a,b", "acme-test"),
        ("", "beta-live"),
    }


@pytest.mark.usefixtures("tagged")
@pytest.mark.parametrize(
    "given", [{"group_by": "tag,model"}, {"tag": "alice", "route": "/x"}, {"tag": "a", "group_by": "status"}]
)
def test_unsupported_tag_groupings_are_rejected_with_the_supported_one(get, given):
    answer = get("/v1/usage", account="acme", **given)
    assert answer.status_code == 422
    assert "key only" in answer.json["detail"]
