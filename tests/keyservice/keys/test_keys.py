import pytest

from keygauge import key as key_format
from keygauge_keyservice.accounts import accounts, plans
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.keys import keys


@pytest.fixture
def account(connection):
    plans.create(connection, plan_id="p", name="P", limits=[], actor="test")
    return accounts.create(connection, name="Acme", plan_id="p", actor="test")


@pytest.fixture
def create(connection, settings, account):
    def create(name="prod", **terms):
        return keys.create(connection, peppers=settings.peppers, account_id=account.id, name=name, actor="ann", **terms)

    return create


def last_change(connection):
    row = connection.execute("SELECT coalesce(max(number), 0) AS last FROM key_change").fetchone()
    return row["last"]


def test_a_token_is_returned_once_and_stored_as_a_hash(connection, create):
    key, token = create(environment="test", routes=["/v1/chat"])
    assert key_format.parse(token) == key.id
    assert token.startswith("kg_test_")
    (row,) = connection.execute("SELECT hash FROM key_secret WHERE key_id = %s", (key.id,)).fetchall()
    assert bytes(row["hash"]) != key_format.digest(token)
    assert (key.status, key.created_by, key.routes, key.locked_terms) == ("active", "ann", ["/v1/chat"], [])
    assert keys.require(connection, key.id) == key


def test_every_real_change_is_in_the_change_feed(connection, create):
    key, _ = create()
    before = last_change(connection)
    keys.change(connection, key.id, actor="ann", models=["gpt-*"])
    keys.set_status(connection, key.id, "disabled", actor="ann")
    keys.delete(connection, key.id, actor="ann")
    assert last_change(connection) == before + 3
    assert keys.delete(connection, key.id, actor="ann").status == "deleted"
    assert last_change(connection) == before + 3


def test_a_deleted_key_can_be_read_but_not_changed(connection, create, account):
    key, _ = create()
    keys.delete(connection, key.id, actor="ann")
    assert keys.require(connection, key.id).deleted_at is not None
    for change in (
        lambda: keys.change(connection, key.id, actor="ann", name="x"),
        lambda: keys.set_status(connection, key.id, "active", actor="ann"),
    ):
        with pytest.raises(Problem) as caught:
            change()
        assert caught.value.status == 409
    assert keys.list_keys(connection, account.id) == []
    assert keys.names(connection, account.id, [key.id]) == {}
    assert [one.id for one in keys.find_many(connection, account.id, [key.id])] == [key.id]


def test_only_an_operator_can_lift_an_operators_restriction(connection, create):
    key, _ = create(networks=["192.0.2.0/24"], by_operator=True)
    assert key.locked_terms == ["networks"]
    with pytest.raises(Problem, match="operator"):
        keys.change(connection, key.id, actor="ann", networks=[])
    assert keys.change(connection, key.id, actor="ann", models=["gpt-*"]).locked_terms == ["networks"]
    free = keys.change(connection, key.id, actor="op", by_operator=True, networks=[])
    assert free.locked_terms == []


def test_keys_are_found_by_name_and_id_prefix_within_their_account(connection, create, account):
    one, _ = create("prod")
    other, _ = create("prod")
    assert keys.find_named(connection, account.id, "prod").id == one.id
    assert keys.find_named(connection, account.id, "prod", beginning=other.id[:8]).id == other.id
    assert keys.find_named(connection, "beta", "prod") is None
    assert keys.find_many(connection, "beta", [one.id]) == []
    assert [key.id for key in keys.list_keys(connection, account.id, after=one.id)] == [other.id]
    with pytest.raises(Problem) as caught:
        keys.require(connection, "nobody")
    assert (caught.value.status, caught.value.code) == (404, "key_not_found")
