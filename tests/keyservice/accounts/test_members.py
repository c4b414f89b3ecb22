import pytest

from keygauge_keyservice.accounts import accounts, members, memberships, passwords, plans, sessions
from keygauge_keyservice.errors import Problem

PASSWORD = "correct horse battery"


@pytest.fixture
def account(connection):
    plans.create(connection, plan_id="free", name="Free", limits=[], actor="test")
    return accounts.create(connection, name="Acme", plan_id="free", actor="test")


def test_an_address_matches_regardless_of_case_and_spaces(connection, account):
    member = members.create(
        connection, account_id=account.id, email=" Ada@Example.COM ", password=PASSWORD, actor="test"
    )
    assert member.email == "ada@example.com"
    found_id, password_hash = memberships.find_credentials(connection, "ADA@example.com")
    assert found_id == member.id
    assert passwords.verify(password_hash, PASSWORD)
    assert not passwords.verify(password_hash, PASSWORD + "!")


def test_passwords_are_stored_as_argon2id_and_not_in_the_audit_log(connection, account):
    members.create(connection, account_id=account.id, email="ada@example.com", password=PASSWORD, actor="test")
    row = connection.execute("SELECT password_hash FROM member").fetchone()
    assert row["password_hash"].startswith("$argon2id$")
    audit = connection.execute("SELECT action, after FROM audit ORDER BY id DESC LIMIT 1").fetchone()
    assert audit == {"action": "member.create", "after": {"email": "ada@example.com", "role": "owner"}}


def test_an_address_can_be_a_member_only_once(connection, account):
    members.create(connection, account_id=account.id, email="ada@example.com", password=PASSWORD, actor="test")
    with pytest.raises(Problem) as refused:
        members.create(connection, account_id=account.id, email="ADA@example.com", password=PASSWORD, actor="test")
    assert refused.value.code == "member_exists"


@pytest.mark.parametrize(
    ("email", "password", "field"),
    [
        ("", PASSWORD, "email"),
        ("nobody", PASSWORD, "email"),
        ("a b@example.com", PASSWORD, "email"),
        ("a\0@example.com", PASSWORD, "email"),
        (f"{'a' * 250}@example.com", PASSWORD, "email"),
        (f"{'a' * 65}@example.com", PASSWORD, "email"),
        ("ada@example.com", "short", "password"),
        ("ada@example.com", "x" * 1025, "password"),
    ],
)
def test_an_invalid_address_or_password_is_rejected(connection, account, email, password, field):
    with pytest.raises(Problem) as refused:
        members.create(connection, account_id=account.id, email=email, password=password, actor="test")
    assert [error.field for error in refused.value.errors] == [field]


@pytest.mark.parametrize(
    "email",
    [
        *("a,eve@evil.example", "a;eve@evil.example", "<eve@evil.example>", "ada@example.com,eve@evil.example"),
        *('"a\\"b"@example.com', "a(eve)@example.com", "a[1]@example.com", "list:ada@example.com", "a\\b@example.com"),
        *("eve%evil.example@example.com", "evil.example!eve@example.com", "|sh@example.com", "`id`@example.com"),
        *(".ada@example.com", "ada.@example.com", "a..da@example.com", "ada@example..com", "ada@.com"),
        *("ada@example.com.", "ada@-example.com", "ada@example-.com", "ada@[192.0.2.1]", "ada@ex_ample.com"),
        *("ada@example.com?x", "ada@a/b"),
        *("a\uff0ceve@evil.example", "ada@evil\uff0eexample", "ada@evil\u3002example", "\u212aay@example.com"),
        *("ada\r\nbcc:eve@example.com", "ada\u2028@example.com", "ada\u200b@example.com"),
    ],
)
def test_addresses_that_mail_could_read_as_others_are_rejected(email):
    assert not members.is_email(members.normalise_email(email))


@pytest.mark.parametrize(
    "email",
    [
        *("ada@example.com", "ada.king+keys@mail.example.co.uk", "o'hara@example.ie", "a_b-c@example.com"),
        *("ops@localhost", "user=example.org@relay.example", "a/b@example.com", "1@xn--bcher-kva.example"),
        *("j\u00f6rg@b\u00fccher.example", "\u0939\u093f\u0928\u094d\u0926\u0940@example.com"),
    ],
)
def test_addresses_that_people_have_are_accepted(email):
    assert members.is_email(email)


def test_operators_cannot_fill_an_account_beyond_its_maximum(connection, account, monkeypatch):
    monkeypatch.setattr(members, "PER_ACCOUNT_MAX", 1)
    members.create(connection, account_id=account.id, email="ada@example.com", password=PASSWORD, actor="test")
    with pytest.raises(Problem) as refused:
        members.create(connection, account_id=account.id, email="bob@example.com", password=PASSWORD, actor="test")
    assert refused.value.code == "too_many_members"
    members.create(
        connection, account_id=None, email="op@example.com", password=PASSWORD, role="operator", actor="test"
    )


def test_no_password_matches_an_unknown_member(connection):
    assert memberships.find_credentials(connection, "nobody@example.com") is None
    assert not passwords.verify(None, PASSWORD)


def test_changing_the_password_ends_all_sessions(connection, account):
    member = members.create(connection, account_id=account.id, email="ada@example.com", password=PASSWORD, actor="test")
    token = sessions.start(connection, member.id)
    members.set_password(connection, "ADA@example.com", "another fine password", actor="test")
    assert sessions.find(connection, token) is None
    _, password_hash = memberships.find_credentials(connection, "ada@example.com")
    assert passwords.verify(password_hash, "another fine password")
    assert not passwords.verify(password_hash, PASSWORD)
    with pytest.raises(Problem) as refused:
        members.set_password(connection, "nobody@example.com", PASSWORD, actor="test")
    assert refused.value.code == "member_not_found"


def test_members_are_listed_by_account(connection, account):
    other = accounts.create(connection, name="Globex", plan_id="free", actor="test")
    for account_id, email in ((account.id, "zoe@example.com"), (account.id, "ada@example.com"), (other.id, "eve@x")):
        members.create(connection, account_id=account_id, email=email, password=PASSWORD, actor="test")
    assert [member.email for member in members.list_members(connection, account.id)] == [
        "ada@example.com",
        "zoe@example.com",
    ]


def test_an_address_has_a_separate_password_per_account(connection, account):
    other = accounts.create(connection, name="Other", plan_id=account.plan_id, actor="test")
    for account_id, password in ((account.id, PASSWORD), (other.id, "another fine password")):
        members.create(connection, account_id=account_id, email="ada@example.com", password=password, actor="test")
    hashes = [password_hash for _, password_hash in memberships.list_credentials(connection, "ada@example.com")]
    assert [passwords.verify(one, PASSWORD) for one in hashes] == [True, False]
