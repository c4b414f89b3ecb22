import pytest

QUESTION = {"account": "acme", "from": "2026-05-17T00:00:00Z", "groups": ["key"]}


@pytest.mark.usefixtures("get", "tagged")
def test_one_request_groups_usage_in_several_ways(call):
    def run_query(**change):
        return call("POST", "/v1/usage/query", QUESTION | change)

    answer = run_query(groups=["tag", "key,tag", "model"])
    assert [len(result["groups"]) for result in answer["results"]] == [3, 4, 2]
    for result in answer["results"]:
        assert sum(group["requests"] for group in result["groups"]) == answer["totals"]["requests"] == 52
    assert run_query(tag="a,b")["results"][0]["groups"][0]["group"] == "acme-test"
    assert run_query(groups=[], to="2026-05-19T12:00:00Z")["totals"]["requests"] == 23


@pytest.mark.usefixtures("metered")
@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"account": "nobody"}, 404),
        ({"groups": ["moon"]}, 422),
        ({"groups": ["key,key"]}, 422),
        ({"groups": ["tag,model"]}, 422),
        ({"groups": ["key"] * 11}, 422),
        ({"to": "2026-05-16T00:00:00Z"}, 422),
    ],
)
def test_invalid_query_is_rejected(call, change, status):
    call("POST", "/v1/usage/query", QUESTION | change, status=status)
