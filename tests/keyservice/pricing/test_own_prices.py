from datetime import UTC, datetime

import pytest

from keygauge.pricing.rates import Rates
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.pricing.price_terms import parse_tiers

pytestmark = pytest.mark.usefixtures("metered")


def test_dollars_become_whole_nano_dollars_per_million():
    assert parse_tiers(["input=2.5,output=10,request=0.001", "200000:input=5,cache_read=0.5"]) == [
        Rates(-1, 2_500_000_000, 10**10, 2_500_000_000, 2_500_000_000, 10**10, 10**12),
        Rates(200_000, 5 * 10**9, 0, 5 * 10**8, 5 * 10**9, 0, 0),
    ]


@pytest.mark.parametrize(
    "texts", [["input"], ["input=-1"], ["input=0.0000000001"], ["tea=1"], ["5:input=1"], ["input=nan"], ["input=1"] * 2]
)
def test_a_price_that_makes_no_sense_is_refused(texts):
    with pytest.raises(Problem):
        parse_tiers(texts)


def test_an_own_price_holds_for_the_next_batch_of_every_process(client, operator, replica, make_line, connection):
    now_us = int(datetime.now(UTC).timestamp() * 1e6)
    line = make_line(time_us=now_us, model="house-1", provider="vllm") + b"\n"
    assert client.post("/v1/events?spool=ab&first=0", data=line, headers=replica).status_code == 200
    body = {"model": "House-1", "tiers": [{"input": 10**9, "output": 2 * 10**9}], "valid_from": "2020-01-01T00:00:00Z"}
    answer = client.post("/v1/prices", json=body, headers=operator)
    assert (answer.status_code, answer.json["tiers"][0]["reasoning"]) == (201, 2 * 10**9)
    client.post("/v1/events?spool=ab&first=1", data=line, headers=replica)
    rows = connection.execute("SELECT cost_nanousd, price_version FROM event ORDER BY cost_nanousd").fetchall()
    assert [tuple(row.values()) for row in rows] == [(500_000, answer.json["version"]), (None, None)]
    assert client.get("/v1/prices", headers=operator).json["prices"] == [answer.json]


@pytest.mark.parametrize(
    "change", [{"tiers": []}, {"tiers": [{"input": -1}]}, {"model": ""}, {"account": "nobody"}, {"more": 1}]
)
def test_a_wrong_price_is_refused_over_http(client, operator, change):
    body = {"model": "m", "tiers": [{"input": 1}]} | change
    assert client.post("/v1/prices", json=body, headers=operator).status_code in {404, 422}
    assert client.get("/v1/prices", headers=operator).json["prices"] == []


def test_prices_are_for_operators(client, replica):
    assert client.get("/v1/prices", headers=replica).status_code in {401, 403}
