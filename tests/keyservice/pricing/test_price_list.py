from datetime import UTC, datetime, timedelta

import pytest
from psycopg.pq import TransactionStatus

from keygauge.pricing.rates import Rates
from keygauge_keyservice import database
from keygauge_keyservice.pricing import own_prices, price_list
from keygauge_keyservice.pricing.public_prices import PublicPrices

NOW = datetime(2026, 5, 20, 12, 0, tzinfo=UTC)
PUBLIC = PublicPrices()


@pytest.fixture
def find(connection, metered):
    for days, rate, account in ((-9, 7, None), (-1, 8, None), (1, 9, None), (-2, 5, "acme")):
        terms = {"model": "gpt-4o-mini", "valid_from": NOW + timedelta(days=days), "account_id": account}
        own_prices.set_price(connection, tiers=[Rates(-1, *[rate] * 6)], actor="test", **terms)
    return lambda model="gpt-4o-mini", **chosen: price_list.find(connection, PUBLIC, model, now=NOW, **chosen)


def inputs(entries):
    return [entry.tiers[0].input for entry in entries]


def test_superseded_prices_are_left_out(find):
    assert inputs(find(source="own")) == [9, 8, 5]
    assert inputs(find(source="own", has_past=True)) == [9, 8, 5, 7]


def test_an_account_gets_its_own_prices_and_those_for_all_accounts(find):
    assert inputs(find(source="own", account_id="acme")) == [9, 8, 5]
    assert inputs(find(source="own", account_id="beta")) == [9, 8]


def test_own_prices_come_before_the_public_ones_of_their_model(find):
    found = find("GPT-4o")
    assert [entry.model.lower() for entry in found] == sorted(entry.model.lower() for entry in found)
    of_mini = [entry.source for entry in found if entry.model == "gpt-4o-mini"]
    assert of_mini == ["own"] * 3 + ["public"] * (len(of_mini) - 3)
    assert {"own", "public"} == set(of_mini)
    assert find("no such model") == []


def test_the_public_list_is_read_without_a_transaction(database_url, monkeypatch):
    """Reading it takes a second the first time, more on a busy machine, and PostgreSQL ends silent transactions."""
    states = []
    with database.connect(database_url) as connection:
        monkeypatch.setattr(
            PublicPrices, "models_at", lambda *_: states.append(connection.info.transaction_status) or ()
        )
        assert price_list.find(connection, PUBLIC, now=NOW) == []
    assert states == [TransactionStatus.IDLE]
