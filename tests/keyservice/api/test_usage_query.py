import pytest

QUESTION = {"account": "acme", "from": "2026-05-17T00:00:00Z", "groups": ["key"]}


@pytest.mark.usefixtures("get", "tagged")
def test_one_request_groups_usage_in_several_ways(call):
    def ask(**change):
        return call("POST", "/v1/usage/query", QUESTION | change)

    told = ask(groups=["tag", "key,tag", "model"])
    assert [len(result["groups"]) for result in told["results"]] == [3, 4, 2]
    for result in told["results"]:
        assert sum(group["requests"] for group in result["groups"]) == told["totals"]["requests"] == 52
    assert ask(tag="a,b")["results"][0]["groups"][0]["group"] == "acme-test"
    assert ask(groups=[], to="2026-05-19T12:00:00Z")["totals"]["requests"] == 23


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
