from contextlib import contextmanager

import pytest

from keygauge_keyservice.accounts import accounts, invitations, members, plans
from keygauge_keyservice.errors import Problem

EMAIL, PASSWORD = "ann@people.example", "a long enough password"


@pytest.fixture
def account_id(connection):
    plans.create(connection, plan_id="p", name="P", limits=[], actor="test")
    return accounts.create(connection, name="Acme", plan_id="p", actor="test").id


@pytest.fixture
def invite(connection, account_id):
    def invite(email=EMAIL, role="viewer", **options):
        return invitations.create(connection, account_id=account_id, email=email, role=role, actor="op", **options)

    return invite


@contextmanager
def refused(status):
    with pytest.raises(Problem) as caught:
        yield
    assert caught.value.status == status


def test_a_link_can_be_accepted_once(connection, invite):
    made, token = invite(" Ann@People.example ")
    assert (made.email, invitations.find(connection, token)) == (EMAIL, made)
    member = invitations.accept(connection, token, PASSWORD)
    assert (member.email, member.role) == (EMAIL, "viewer")
    assert invitations.find(connection, token) is None
    with refused(404):
        invitations.accept(connection, token, PASSWORD)


def test_the_secret_is_not_stored(connection, invite):
    _, token = invite()
    (row,) = connection.execute("SELECT * FROM invitation").fetchall()
    assert token not in str(row)


def test_a_new_invitation_replaces_the_previous_one_and_expired_ones_are_rejected(connection, invite, account_id):
    _, first = invite()
    _, second = invite()
    assert invitations.find(connection, first) is None
    connection.execute("UPDATE invitation SET ends_at = clock_timestamp()")
    assert invitations.find(connection, second) is None
    assert invitations.list_open(connection, account_id) == []
    with refused(404):
        invitations.accept(connection, second, PASSWORD)


@pytest.mark.parametrize("weak", ["short", EMAIL])
def test_a_weak_password_does_not_use_up_the_link(connection, invite, weak):
    _, token = invite()
    with refused(422):
        invitations.accept(connection, token, weak)
    assert invitations.find(connection, token) is not None


def test_invitations_cannot_take_over_an_owner_or_change_a_role(connection, invite, account_id):
    members.create(connection, account_id=account_id, email=EMAIL, password=PASSWORD, role="owner", actor="test")
    for role in ("viewer", "owner"):
        with refused(409):
            invite(role=role)
    assert invite(role="owner", by_operator=True)[0].role == "owner"
    with refused(422):
        invite("no address")


def test_the_verified_address_must_be_the_invited_one(connection, invite):
    _, token = invite()
    with refused(403):
        invitations.accept_verified(connection, token, "bob@people.example")
    assert invitations.accept_verified(connection, token, EMAIL).email == EMAIL


def test_only_its_own_account_can_withdraw_an_invitation(connection, invite, account_id):
    made, token = invite()
    invitations.withdraw(connection, "another", made.id, actor="op")
    assert [one.id for one in invitations.list_open(connection, account_id)] == [made.id]
    invitations.withdraw(connection, account_id, made.id, actor="op")
    assert invitations.find(connection, token) is None
