from datetime import UTC, datetime

import pytest

from keygauge.pricing.rates import Rates
from keygauge_keyservice.pricing import own_prices
from keygauge_keyservice.pricing.price_book import PriceBook
from keygauge_keyservice.pricing.public_prices import PublicPrices

pytestmark = pytest.mark.usefixtures("metered")


def test_an_own_price_applies_to_the_next_batch(client, operator, replica, make_line, connection):
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


def test_the_state_changes_with_every_new_price(connection):
    book = PriceBook(PublicPrices())
    states, since = set(), datetime(2026, 1, 1, tzinfo=UTC)
    for rate in (4, 5, 5):
        own_prices.set_price(connection, model="m", tiers=[Rates(-1, *[rate] * 6)], valid_from=since, actor="test")
        book.refresh(connection)
        states.add(book.state)
    assert len(states) == 3
