"""Reading a usage view from the page's address, and writing its address."""

from datetime import UTC, datetime

import pytest

from keygauge_keyservice.errors import Problem
from keygauge_keyservice.portal.usage_view import read_view, select

NOW = datetime(2026, 5, 21, 12, tzinfo=UTC)
RANGE = "from=2026-05-19&to=2026-05-21"


@pytest.fixture
def view(signed_in, connection):
    """`view(query)` returns the view of a usage page, read in the page's request context."""
    with signed_in.client:

        def view(query):
            signed_in.get(f"/usage?{query}")
            return read_view(connection, NOW)

        yield view


def test_invalid_parameters_are_ignored(view):
    plain = view(RANGE)
    assert (plain.metric, plain.group, plain.chart, plain.bucket) == ("requests", "none", "bars", "hour")
    assert view(f"{RANGE}&metric=x&group=x&chart=x&bucket=minute&model=+") == plain


def test_address_round_trips(view):
    query = f"{RANGE}&metric=tokens&group=model&chart=area&bucket=day&route=/v1/chat"
    again = view(query)
    assert view(again.address().partition("?")[2]) == again
    assert "group=" not in again.address(group=None)


def test_keys_are_found_by_name_and_those_of_others_are_not(view, customer, stranger):
    chosen = view(f"{RANGE}&key={customer.key.name}")
    assert (chosen.key.id, chosen.filters["key"], select(chosen)["key_id"]) == (customer.key.id,) * 3
    for name in ("nobody", stranger.key.id):
        with pytest.raises(Problem, match="key"):
            view(f"{RANGE}&key={name}")


def test_usage_kinds_have_only_some_metrics(view):
    assert view(f"{RANGE}&group=kind&metric=errors").metric == "cost"
    assert view(f"{RANGE}&group=kind&metric=tokens").metric == "tokens"


def test_calls_with_a_tag_are_grouped_only_by_key_tag_and_kind(view):
    of_tag = view(f"{RANGE}&tag=alice&model=m&group=model")
    assert of_tag.group == "none"
    assert list(of_tag.groupings) == ["key", "tag", "kind"]
    assert "tag" not in view(f"{RANGE}&group=tag").groupings  # no call has a tag
