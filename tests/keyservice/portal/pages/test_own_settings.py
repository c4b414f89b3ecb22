import pytest

from keygauge_keyservice.accounts import accounts, invitations, members

EMAIL = "ann@people.example"
OWN, FORGED = "a password of ann herself", "a password of the attacker"


@pytest.fixture
def join(connection, make_customer):
    """`join(name)` creates an account with the same person as a member."""

    def join(name, *, verified=True, password=OWN):
        account = accounts.create(connection, name=name, plan_id="pro", actor="test")
        made = members.create(
            connection, account_id=account.id, email=EMAIL, password=password, role="owner", actor="test"
        )
        connection.execute("UPDATE member SET is_verified = %s WHERE id = %s", (verified, made.id))
        return made

    return join


@pytest.fixture
def sign_in(visitor):
    def sign_in(password=OWN):
        return visitor.client.post("/sign-in", data={"email": EMAIL, "password": password}).status_code

    return sign_in


def switch(visitor, member):
    return visitor.post("/password/account", {"member": str(member.id)}, page="/password").status_code


def test_member_of_two_accounts_switches_between_them(connection, visitor, join, sign_in):
    one, two = join("Acme"), join("Globex")
    assert sign_in() == 303
    page = visitor.get("/password").text
    assert "Switch account" in page
    assert "Globex (Owner)" in page
    assert switch(visitor, two) == 303
    rows = connection.execute("SELECT member_id FROM session").fetchall()
    assert [row["member_id"] for row in rows] == [two.id]  # the previous session has ended
    assert "Acme (Owner)" in visitor.get("/password").text
    assert switch(visitor, one) == 303


@pytest.mark.parametrize(("own", "other"), [(False, True), (True, False), (False, False)])
def test_switching_requires_a_verified_address_in_both_accounts(visitor, join, sign_in, own, other):
    join("Evil", verified=own, password=FORGED)
    victim = join("Acme", verified=other)
    assert sign_in(FORGED) == 303
    assert "Switch account" not in visitor.get("/password").text
    assert switch(visitor, victim) == 404


def test_password_set_with_a_link_does_not_allow_switching(connection, visitor, join, sign_in):
    taken, other = join("Acme"), join("Globex")
    given = {"account_id": taken.account_id, "email": EMAIL, "role": "owner", "by_operator": True}
    _, link = invitations.create(connection, **given, actor="test")
    invitations.accept(connection, link, FORGED)  # by anyone who had the link
    assert sign_in(FORGED) == 303
    assert switch(visitor, other) == 404


def test_switching_to_another_person_or_an_operator_is_not_found(connection, visitor, join, sign_in, customer):
    join("Acme")
    operator = members.create(
        connection, account_id=None, email=EMAIL, password="a password of operators", role="operator", actor="test"
    )
    assert sign_in() == 303
    assert [switch(visitor, member) for member in (customer.member, operator)] == [404, 404]


def test_memberships_created_by_others_do_not_prevent_signing_in(join, sign_in):
    for number in range(25):
        join(f"Evil {number}", verified=False, password=FORGED)
    join("Acme")
    assert sign_in() == 303


def test_several_unverified_memberships_do_not_prevent_signing_in(join, sign_in):
    for number in range(5):
        join(f"Evil {number}", verified=False, password=FORGED)
    join("Acme", verified=False)
    assert sign_in() == 303


def test_own_password_is_changed_with_the_old_one(app, signed_in, customer, visitor):
    new = "another good password"
    form = {"old": customer.password, "new": new, "again": new}
    assert signed_in.post("/password", form | {"old": "wrong"}, page="/password").status_code == 422
    assert signed_in.post("/password", form | {"again": "x"}, page="/password").status_code == 422
    assert signed_in.post("/password", form | {"new": "x", "again": "x"}, page="/password").status_code == 422
    assert signed_in.post("/password", form, page="/password").status_code == 303
    assert signed_in.get("/").status_code == 200
    assert visitor.sign_in(customer, password=new).status_code == 303
