import pytest

from keygauge_keyservice.accounts import accounts, members, memberships, plans

EMAIL = "ann@people.example"


@pytest.fixture
def join(connection):
    plans.create(connection, plan_id="p", name="P", limits=[], actor="test")

    def join(name, *, verified=True, email=EMAIL):
        account = accounts.create(connection, name=name, plan_id="p", actor="test")
        made = members.create(
            connection,
            account_id=account.id,
            email=email,
            password="a long enough password",
            role="owner",
            actor="test",
        )
        connection.execute("UPDATE member SET is_verified = %s WHERE id = %s", (verified, made.id))
        return made

    return join


def test_verified_memberships_of_an_address_come_first(connection, join):
    forged, own = join("Evil", verified=False), join("Acme")
    assert [number for number, _ in memberships.list_credentials(connection, " Ann@People.example ")] == [
        *(own.id, forged.id)
    ]
    assert memberships.find_credentials(connection, EMAIL)[0] == own.id
    assert memberships.find_credentials(connection, EMAIL, member_id=forged.id)[0] == forged.id
    assert memberships.find_credentials(connection, EMAIL, member_id=own.id + 99) is None
    assert memberships.find_credentials(connection, "bob@people.example") is None


def test_switching_accounts_requires_both_memberships_to_be_verified(connection, join):
    one, two, forged = join("B"), join("A"), join("Evil", verified=False)
    join("Bob's", email="bob@people.example")
    reached = memberships.list_reachable(connection, one)
    assert [(other.member_id, other.account_name, other.role) for other in reached] == [(two.id, "A", "owner")]
    assert memberships.list_reachable(connection, forged) == []
