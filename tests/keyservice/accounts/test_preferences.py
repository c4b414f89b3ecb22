import pytest

from keygauge_keyservice.accounts import accounts, members, plans, preferences
from keygauge_keyservice.accounts.preferences import Preferences


@pytest.fixture
def member(connection):
    plans.create(connection, plan_id="p", name="P", limits=[], actor="test")
    account = accounts.create(connection, name="Acme", plan_id="p", actor="test")
    return members.create(
        connection, account_id=account.id, email="a@b.example", password="a long enough password", actor="test"
    )


def test_preferences_can_be_set_changed_and_cleared(connection, member):
    assert preferences.find(connection, member.id) == Preferences(None, None)
    for chosen in (Preferences("Europe/Berlin", "de", 24), Preferences(None, "en_US", 12), Preferences(None, None)):
        preferences.save(connection, member.id, chosen)
        assert preferences.find(connection, member.id) == chosen
