from datetime import UTC, datetime

import pytest

from keygauge.pricing.rates import Rates
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.journal import audit, change_feed
from keygauge_keyservice.pricing import own_prices

pytestmark = pytest.mark.usefixtures("metered")


@pytest.fixture
def own(connection):
    def own(model="m", **terms):
        terms = {"valid_from": datetime(2026, 1, 1, tzinfo=UTC), "tiers": [Rates(-1, *[5] * 6)]} | terms
        return own_prices.set_price(connection, model=model, actor="ada", **terms)

    return own


def test_a_price_is_stored_with_lowercase_names_and_audited(connection, own):
    made = own("House-1", provider="VLLM", account_id="acme")
    assert (made.model, made.provider, made.tiers) == ("house-1", "vllm", (Rates(-1, *[5] * 6),))
    assert own_prices.list_prices(connection, model="HOUSE-1") == [made]
    assert own_prices.list_prices(connection, account_id="beta") == []
    [entry] = audit.find_entries(connection, "acme", actor="ada")
    assert (entry.action, f"own {entry.subject}", entry.after["model"]) == ("price.set", made.version, "house-1")


def test_a_price_for_an_unknown_account_is_rejected(connection, own):
    with pytest.raises(Problem):
        own(account_id="nobody")
    assert own_prices.list_prices(connection) == []


def test_the_first_price_of_an_account_reaches_its_keys(connection, own):
    cursor = change_feed.read(connection, None).cursor
    own()
    assert change_feed.read(connection, cursor).key_ids == []
    own(account_id="acme")
    assert set(change_feed.read(connection, cursor).key_ids) == {"acme-live", "acme-test"}
