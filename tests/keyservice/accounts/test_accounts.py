from datetime import UTC, datetime

import pytest

from keygauge.pricing.rates import Rates
from keygauge_keyservice.accounts import accounts, invitations, members, plans, sessions, tokens
from keygauge_keyservice.errors import Problem
from keygauge_keyservice.journal import audit
from keygauge_keyservice.keys import keys
from keygauge_keyservice.notices import channels, outbox
from keygauge_keyservice.pricing import own_prices

RATES = (Rates(above=-1, input=1, output=1, cache_read=1, cache_write=1, reasoning=1, request=0),)


@pytest.fixture
def account(connection):
    for plan_id in ("free", "pro"):
        plans.create(connection, plan_id=plan_id, name=plan_id, limits=[], actor="test")
    return accounts.create(connection, name="Acme", plan_id="free", actor="test")


def test_each_change_is_audited_once(connection, account):
    for _ in range(2):
        accounts.rename(connection, account.id, "Acme Ltd", actor="ada")
        accounts.change_plan(connection, account.id, "pro", actor="ada")
        accounts.set_status(connection, account.id, "suspended", actor="ada")
    changed = accounts.set_status(connection, account.id, "active", actor="ada")
    assert (changed.name, changed.plan_id, changed.status) == ("Acme Ltd", "pro", "active")
    entries = audit.find_entries(connection, account.id, actor="ada")
    assert [(entry.action, entry.before, entry.after) for entry in entries] == [
        ("account.activate", None, None),
        ("account.suspend", None, None),
        ("plan.change", {"plan": "free"}, {"plan": "pro"}),
        ("account.rename", {"name": "Acme"}, {"name": "Acme Ltd"}),
    ]


def test_unknown_plans_and_accounts_raise_404_and_change_nothing(connection, account):
    for change in (
        lambda: accounts.create(connection, name="Beta", plan_id="none", actor="test"),
        lambda: accounts.change_plan(connection, account.id, "none", actor="test"),
        lambda: accounts.rename(connection, "none", "Beta", actor="test"),
    ):
        with pytest.raises(Problem) as raised:
            change()
        assert raised.value.status == 404
    assert accounts.list_accounts(connection) == [account]


def test_an_account_with_keys_cannot_be_deleted(connection, account, settings):
    keys.create(connection, peppers=settings.peppers, account_id=account.id, name="prod", actor="test")
    with pytest.raises(Problem, match="Suspend it instead"):
        accounts.delete(connection, account.id, actor="test")
    assert accounts.find(connection, account.id) == account


def test_an_account_without_history_is_deleted_with_all_its_rows(connection, account):
    own = {"account_id": account.id, "actor": "test"}
    ada = {"email": "ada@acme.example", "password": "correct horse battery"}
    member = members.create(connection, **ada, **own)
    sessions.start(connection, member.id)
    invitations.create(connection, email="bob@acme.example", role="viewer", **own)
    tokens.create(connection, kind="account", name="ci", **own)
    channel = channels.create(connection, form="email", target=ada["email"], kinds=["quota"], **own)
    outbox.add_test(connection, account_id=account.id, channel_id=channel.id)
    own_prices.set_price(connection, model="m", tiers=RATES, valid_from=datetime(2026, 1, 1, tzinfo=UTC), **own)
    accounts.change_plan(connection, account.id, "pro", actor="test")
    accounts.delete(connection, account.id, actor="ada")
    assert accounts.find(connection, account.id) is None
    assert audit.find_entries(connection, account.id)[0].action == "account.delete"
    tables = connection.execute(
        "SELECT table_name AS name FROM information_schema.columns "
        "WHERE column_name = 'account_id' AND table_schema = 'public' AND table_name <> 'audit'"
    ).fetchall()
    for table in tables:
        query = f'SELECT FROM "{table["name"]}" WHERE account_id = %s'
        assert connection.execute(query, (account.id,)).fetchall() == [], table
