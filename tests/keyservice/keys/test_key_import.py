import base64
from hashlib import sha256

import pytest

from keygauge_keyservice.accounts import accounts, plans
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.keys import key_import, key_limits, keys

SECRET = "sk-another-systems-key"
DIGEST = sha256(SECRET.encode()).digest()


@pytest.fixture
def take_over(connection, settings):
    plans.create(connection, plan_id="p", name="P", limits=[], actor="test")

    def take_over(*rows, plan_id="p"):
        numbered = [(f"line {number}", row) for number, row in enumerate(rows, 1)]
        with connection.transaction():
            return key_import.take_over(connection, numbered, peppers=settings.peppers, plan_id=plan_id, actor="op")

    return take_over


def test_a_key_is_imported_once_whatever_the_notation_of_its_hash(connection, take_over):
    spelled = [DIGEST.hex(), DIGEST.hex().upper(), base64.b64encode(DIGEST).decode()]
    spelled.append(base64.urlsafe_b64encode(DIGEST).decode().rstrip("="))
    rows = [{"hash": text, "account": "Acme"} for text in spelled] + [{"key": SECRET, "account": "Acme"}]
    done = take_over(*rows)
    assert (len(done.created), done.accounts, done.present) == (1, ["Acme"], 4)
    assert take_over(*rows).present == 5
    assert done.created[0].name == "imported"


def test_terms_limits_and_status_are_imported(connection, take_over):
    row = {"key": SECRET, "account": "Acme", "name": "prod", "models": ["gpt-*"], "disabled": True}
    (key,) = take_over(row | {"limits": ["rpm=60:request:60s"]}).created
    assert keys.require(connection, key.id).status == "disabled"
    assert key.models == ["gpt-*"]
    assert [(limit.name, limit.subject) for limit in key_limits.find(connection, key.id)] == [("rpm", "key")]


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"hash": "x"},
        {"hash": "00" * 31},
        {"hash": DIGEST.hex(), "key": SECRET},
        {"key": "short"},
        {"key": "kg_live_" + "a" * 20},
        {"key": "with a space in it"},
        {"key": SECRET, "limits": ["rpm"]},
        {"key": SECRET, "networks": ["x"]},
        {"key": SECRET, "nmae": "x"},
    ],
)
def test_an_invalid_row_is_located_and_nothing_is_imported(connection, take_over, wrong):
    with pytest.raises(Problem, match="line 2: "):
        take_over({"key": SECRET + "2", "account": "Acme"}, {"account": "Acme"} | wrong)
    assert accounts.list_accounts(connection) == []


def test_accounts_are_not_created_without_a_plan(connection, take_over):
    with pytest.raises(Problem, match="line 1: "):
        take_over({"key": SECRET, "account": "Acme"}, plan_id=None)
    acme = accounts.create(connection, name="Acme", plan_id="p", actor="test")
    (key,) = take_over({"key": SECRET, "account": acme.id}, plan_id=None).created
    assert key.account_id == acme.id


def test_an_account_gets_no_more_keys_than_it_can_have(connection, take_over, settings):
    rows = [(f"line {number}", {"key": f"{SECRET}-{number}", "account": "Acme"}) for number in range(3)]

    def take(rows):
        return key_import.take_over(connection, rows, peppers=settings.peppers, plan_id="p", actor="op", most=2)

    with (
        pytest.raises(Problem, match="account Acme: An account can have at most 2 keys") as caught,
        connection.transaction(),
    ):
        take(rows)
    assert caught.value.code == "too_many_keys"
    assert len(take(rows[:2]).created) == 2
    assert take(rows[:2]).present == 2
