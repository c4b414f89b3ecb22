import csv
import io
import re

import pytest

from keygauge_keyservice.keys import keys


@pytest.fixture
def several(connection, settings, customer):
    """Keys named beta, alpha and gamma besides the customer's; gamma is disabled, alpha is a test key."""
    made = {}
    for name in ("beta", "alpha", "gamma"):
        made[name], _ = keys.create(
            connection,
            peppers=settings.peppers,
            account_id=customer.account.id,
            name=name,
            app="shop" if name == "beta" else None,
            environment="test" if name == "alpha" else "live",
            actor="test",
        )
    keys.set_status(connection, made["gamma"].id, "disabled", actor="test")
    return made


def names_in(page):
    return re.findall(r'<th scope="row"><a [^>]*>([^<]+)</a>', page)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["Acme key", "beta", "alpha", "gamma"]),
        ("?sort=name", ["Acme key", "alpha", "beta", "gamma"]),
        ("?sort=-name", ["gamma", "beta", "alpha", "Acme key"]),
        ("?sort=-created", ["gamma", "alpha", "beta", "Acme key"]),
        ("?q=SHOP", ["beta"]),
        ("?q=a&sort=name", ["Acme key", "alpha", "beta", "gamma"]),
        ("?q=%25", []),
        ("?q=kg_test_", ["alpha"]),
        ("?only=disabled", ["gamma"]),
        ("?only=test", ["alpha"]),
        ("?only=nonsense&sort=;DROP&page=0", ["Acme key", "beta", "alpha", "gamma"]),
        ("?page=99999999999", ["Acme key", "beta", "alpha", "gamma"]),
        ("?page=2", []),
    ],
)
def test_keys_are_searched_filtered_and_sorted(signed_in, several, query, names):
    answer = signed_in.get(f"/keys{query}")
    assert answer.status_code == 200
    assert names_in(answer.text) == names


def test_key_is_found_by_its_prefix_and_the_search_field_is_too_short_for_a_secret(signed_in, several, customer):
    assert names_in(signed_in.get(f"/keys?q=kg_live_{customer.key.id[:6]}").text) == ["Acme key"]
    answer = signed_in.get(f"/keys?q={customer.token}").text  # longer than the search field allows
    assert names_in(answer) == ["Acme key"]
    assert 'maxlength="20"' in answer


def test_csv_and_json_have_the_same_keys(signed_in, several):
    found = signed_in.get("/keys.json?sort=name&only=live").json["keys"]
    rows = list(csv.DictReader(io.StringIO(signed_in.get("/keys.csv?sort=name&only=live").text)))
    assert [one["name"] for one in found] == [row["name"] for row in rows] == ["Acme key", "beta", "gamma"]
    assert not any("hash" in name or "secret" in name for name in rows[0])


def test_many_keys_are_paginated(connection, signed_in, customer):
    connection.execute(
        "INSERT INTO key (id, account_id, name) SELECT 'k' || n, %s, 'key ' || n FROM generate_series(1, 60) AS n",
        (customer.account.id,),
    )
    first, second = (signed_in.get(f"/keys?page={page}").text for page in (1, 2))
    assert (len(names_in(first)), len(names_in(second))) == (50, 11)
    assert "61 keys" in first
    assert ">Next</a>" in first
    assert ">Next</a>" not in second
