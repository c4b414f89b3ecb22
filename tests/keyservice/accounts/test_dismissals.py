from datetime import UTC, datetime, timedelta

import pytest

from keygauge_keyservice.accounts import accounts, dismissals, members, plans

NOW = datetime(2026, 5, 20, tzinfo=UTC)


@pytest.fixture
def member_ids(connection):
    plans.create(connection, plan_id="p", name="P", limits=[], actor="test")
    account = accounts.create(connection, name="Acme", plan_id="p", actor="test")
    return [
        members.create(
            connection, account_id=account.id, email=email, password="a long enough password", actor="test"
        ).id
        for email in ("a@b.example", "c@d.example")
    ]


def test_a_dismissed_alert_is_hidden_from_that_member_for_a_week(connection, member_ids):
    ann, bob = member_ids
    dismissals.add(connection, ann, "quota:rpm", now=NOW)
    assert dismissals.find(connection, ann, now=NOW + timedelta(days=6)) == {"quota:rpm"}
    assert dismissals.find(connection, ann, now=NOW + timedelta(days=7)) == set()
    assert dismissals.find(connection, bob, now=NOW) == set()
    dismissals.add(connection, ann, "quota:rpm", now=NOW + timedelta(days=7))
    assert dismissals.find(connection, ann, now=NOW + timedelta(days=13)) == {"quota:rpm"}
