import pytest

from keygauge_keyservice.keys import keys
from keygauge_keyservice.portal import own_keys


@pytest.fixture
def second(connection, settings, customer):
    """A second, newer key of the customer's account."""
    return keys.create(
        connection, peppers=settings.peppers, account_id=customer.account.id, name="second", actor="test"
    )[0]


def test_typed_name_is_searched_for_among_all_keys(signed_in, second, stranger, monkeypatch):
    monkeypatch.setattr(own_keys, "OFFERED_MAX", 1)
    assert signed_in.get("/keys/choices.json?q=SECO").json == {"choices": ["second"]}
    assert signed_in.get("/keys/choices.json?q=Globex").json == {"choices": []}
    assert 'data-choices="/keys/choices.json"' in signed_in.get("/usage").text


def test_keys_with_the_same_name_are_distinguished_by_id(connection, settings, signed_in, customer, record):
    twin, _ = keys.create(
        connection, peppers=settings.peppers, account_id=customer.account.id, name=customer.key.name, actor="test"
    )
    label = f"{twin.name} (kg_live_{twin.id[:4]}…)"
    assert label in signed_in.get("/keys/choices.json?q=Acme").json["choices"]
    assert f'value="{label}" maxlength' in signed_in.get("/usage", query_string={"key": label}).text
