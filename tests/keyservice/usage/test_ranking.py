from datetime import UTC, datetime

import pytest

from keygauge_keyservice.ledger import backfill
from keygauge_keyservice.pricing.cost import Cost
from keygauge_keyservice.usage import usage

RANGE = {"start": datetime(2026, 5, 19, tzinfo=UTC), "end": datetime(2026, 5, 22, tzinfo=UTC)}


@pytest.fixture
def take(connection, metered, make_event):
    def take(*calls):
        events = [make_event(**call) for call in calls]
        backfill.write_history(connection, events, lambda event: Cost(event.output_tokens, "test"), spool="test")

    return take


def test_the_busiest_groups_are_returned(connection, take):
    take({"model": "m1"}, {"model": "m2"}, {"model": "m2"})
    selection = {"account_id": "acme"} | RANGE
    top = usage.top(connection, by="model", most=1, **selection)
    assert ([part.group for part in top.parts], top.groups) == (["m2"], 2)
    assert [part.group for part in usage.breakdown(connection, by="model", only=["m1"], **selection)] == ["m1"]
    assert [part.group for part in usage.breakdown(connection, by="model", **selection)] == ["m2", "m1"]


@pytest.mark.parametrize(
    "narrowed", [{}, {"key_id": "acme-live", "route": "/v1/chat/completions"}], ids=["aggregate", "rollup"]
)
def test_groups_are_ranked_by_the_requested_sum(connection, take, narrowed):
    take(
        {"model": "many", "output_tokens": 1},
        {"model": "many", "output_tokens": 1},
        {"model": "many", "output_tokens": 1},
        {"model": "long", "input_tokens": 900, "output_tokens": 3},
        {"model": "dear", "output_tokens": 500},
        {"model": "wrong", "status": 404, "output_tokens": 2},
        {"model": "full", "status": 429, "outcome": "limited", "output_tokens": 0},
    )

    def first(order, least=0):
        top = usage.top(
            connection, by="model", most=9, order=order, least=least, account_id="acme", **narrowed, **RANGE
        )
        return [part.group for part in top.parts], top.groups

    assert first("requests") == (["many", "dear", "full", "long", "wrong"], 5)
    assert first("tokens", least=600) == (["long", "dear"], 2)
    assert first("cost", least=3) == (["dear", "long", "many"], 3)
    assert first("client_errors", least=1) == (["wrong"], 1)


def test_untagged_calls_are_a_group_too(connection, take):
    take({"tag": "alice"}, {}, {}, {"tag": "bob"}, {"tag": "bob"}, {"tag": "bob"})
    top = usage.top(connection, by="tag", most=2, account_id="acme", **RANGE)
    assert ([(part.group, part.requests) for part in top.parts], top.groups) == ([("bob", 3), ("", 2)], 3)
