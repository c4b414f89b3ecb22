import pytest

from keygauge_keyservice.keys.key_page import list_keys


@pytest.fixture
def found(connection):
    """`found(**filters)` returns the ids of matching keys of two accounts."""
    connection.execute("INSERT INTO plan (id, name) VALUES ('p', 'P')")
    for account in ("acme", "beta"):
        connection.execute("INSERT INTO account (id, name, plan_id) VALUES (%s, %s, 'p')", (account, account))
        for number, status in enumerate(("active", "disabled", "deleted")):
            connection.execute(
                "INSERT INTO key (id, account_id, name, status, environment) VALUES (%s, %s, %s, %s, %s)",
                (f"{account}{number}", account, f"Key {number}", status, "test" if number else "live"),
            )
    return lambda **filters: sorted(key.id for key in list_keys(connection, limit=10, **filters))


def test_deleted_keys_are_listed_only_by_their_status(found):
    assert found() == ["acme0", "acme1", "beta0", "beta1"]
    assert found(status="deleted") == ["acme2", "beta2"]
    assert found(status="disabled", account_id="acme") == ["acme1"]


def test_filters_combine_and_names_are_case_insensitive(found):
    assert found(name="kEY 0") == ["acme0", "beta0"]
    assert found(name="key") == []
    assert found(environment="test", account_id="beta") == ["beta1"]


def test_a_page_after_a_key_of_another_account_is_empty(found):
    assert found(account_id="acme", after="acme0") == ["acme1"]
    assert found(account_id="acme", after="beta0") == found(after="nobody") == []
