"""Pages of an account with more keys and groups than a page shows: bounded, and nothing goes missing."""

from datetime import UTC, datetime, timedelta

import pytest

from keygauge_keyservice.keys import keys
from keygauge_keyservice.portal import own_keys
from keygauge_keyservice.usage import usage

RANGE = "from=2026-05-19&to=2026-05-21"


@pytest.fixture
def second(connection, settings, customer):
    """Another key of the customer's account, younger than the one it has."""
    return keys.create(
        connection, peppers=settings.peppers, account_id=customer.account.id, name="second", actor="test"
    )[0]


def test_a_page_offers_some_keys_and_finds_all_by_name_or_id(signed_in, customer, second, record, monkeypatch):
    monkeypatch.setattr(own_keys, "OFFERED_MAX", 1)
    record(customer, {}, {})
    for page in ("usage", "calls"):
        offered = signed_in.get(f"/{page}?{RANGE}").text
        assert f'<option value="{customer.key.name}">' in offered
        assert '<option value="second">' not in offered
        for given in (second.id, "second"):
            assert 'value="second" maxlength' in signed_in.get(f"/{page}?{RANGE}&key={given}").text


def test_a_breakdown_shows_the_busiest_and_counts_the_rest(signed_in, customer, record, monkeypatch):
    monkeypatch.setattr("keygauge_keyservice.portal.pages.usage._ROWS_MAX", 1)
    record(customer, {"model": "m1"}, {"model": "m2"}, {"model": "m2"})
    page = signed_in.get(f"/usage?{RANGE}&group=model&chart=table").text
    assert "1 more rows" in page
    assert "m2" in page


def test_what_is_too_much_to_add_up_says_what_to_ask_instead(signed_in, customer, record, monkeypatch):
    record(customer, {})
    monkeypatch.setattr(usage, "POINTS_MAX", 1)
    answer = signed_in.get(f"/usage?{RANGE}")
    assert answer.status_code == 422
    assert "give a shorter range or longer buckets." in answer.text


def test_the_busiest_groups_are_kept(connection, customer, record):
    record(customer, {"model": "m1"}, {"model": "m2"}, {"model": "m2"})
    selection = {"account_id": customer.account.id, "start": datetime(2026, 5, 19, tzinfo=UTC)}
    selection["end"] = selection["start"] + timedelta(days=3)
    assert [part.group for part in usage.breakdown(connection, by="model", most=1, **selection)] == ["m2"]
    assert [part.group for part in usage.breakdown(connection, by="model", only=["m1"], **selection)] == ["m1"]
    assert [part.group for part in usage.breakdown(connection, by="model", **selection)] == ["m2", "m1"]
